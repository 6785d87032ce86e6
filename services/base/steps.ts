/** Pure: no clock, no I/O, no randomness. */

/** Work that may be paused wherever it yields, and its result: for what must not hold the thread (see Pacer). */
export type Steps<T> = Generator<undefined, T>;

/** Items between two yields: well below a millisecond of ordinary work. */
export const STEP_ITEMS = 128;

/** Visits each item. */
export function* inSteps<T>(items: Iterable<T>, visit: (item: T) => void): Steps<void> {
  let seen = 0;
  for (const item of items) {
    visit(item);
    if (++seen % STEP_ITEMS === 0) yield undefined;
  }
}

/** The items that `accept` takes. */
export function* filterInSteps<T>(items: Iterable<T>, accept: (item: T) => boolean): Steps<T[]> {
  const accepted: T[] = [];
  yield* inSteps(items, (item) => {
    if (accept(item)) accepted.push(item);
  });
  return accepted;
}

/** What `value` makes of the items, each once. */
export function* setInSteps<T, V>(items: Iterable<T>, value: (item: T) => V): Steps<Set<V>> {
  const values = new Set<V>();
  yield* inSteps(items, (item) => values.add(value(item)));
  return values;
}

/** The result, without a pause. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
