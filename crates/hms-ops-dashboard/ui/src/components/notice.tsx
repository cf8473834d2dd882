// What a panel says when it has no data to show: loading, nothing yet, or an error and a way to try again.
import type { ComponentChildren } from "preact";

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: rows }, (_, at) => (
        <div key={at} class="skeleton-row" />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="notice">
      <p class="notice-title">{title}</p>
      {children}
    </div>
  );
}

export function Failed({ what, why, onRetry }: { what: string; why: string; onRetry: () => void }) {
  return (
    <div class="notice" role="alert">
      <p class="notice-title">{what}</p>
      <p>{why}</p>
      <button type="button" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}
