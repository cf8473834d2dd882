// The help sheet: every key the page listens to.
import { useEffect, useRef } from "preact/hooks";

export const KEYS: [key: string, does: string][] = [
  ["?", "open or close this sheet"],
  ["p", "pause or resume charts, timeline and traces; the banner stays live"],
  ["t", "switch theme: auto, dark, light"],
  ["r", "reset the zoom"],
  ["Esc", "leave a trace"],
];

export function Help({ open, onClose }: { open: boolean; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-heading" onClose={onClose}>
      <h2 id="help-heading">Keys</h2>
      <dl class="keys">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p>On a chart: drag to zoom, double click to reset. In a trace: arrow keys walk the spans.</p>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}
