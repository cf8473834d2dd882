// A value that components can watch: the page's only state machinery.
import { useEffect, useReducer } from "preact/hooks";

export class Observable<T> {
  #value: T;
  #watchers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

export function useObservable<T>(source: Observable<T>): T {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const stop = source.watch(() => redraw(undefined));
    redraw(undefined); // the value may have changed before the effect ran
    return stop;
  }, [source]);
  return source.get();
}
