/** Pure: no clock, no I/O, no randomness. */

import { registry, WatchActionKind, type WatchRequest_WatchEntry } from "@starling/api";
import { refuse } from "@starling/api/validation";
import { type Kind, kinds, type ObjectEvent } from "@starling/store";
import { readFilter } from "./watch-filter.ts";

export const watchActions = {
  create: WatchActionKind.WATCH_ACTION_CREATE,
  update: WatchActionKind.WATCH_ACTION_UPDATE,
  remove: WatchActionKind.WATCH_ACTION_REMOVE,
} as const satisfies Record<ObjectEvent["action"], WatchActionKind>;

/** A WatchEntry, read once. */
interface Entry {
  /** Of the store's kinds; the objects of clients' own kinds are resources. */
  readonly kind: Kind;
  readonly holds: (event: ObjectEvent) => boolean;
}

/**
 * Whether an event is among those that the entries ask for. Throws InvalidArgument for an entry without kind or action,
 * for a filter that the kind does not have, and for two filters that fix the same.
 */
export function selectorOf(entries: readonly WatchRequest_WatchEntry[]): (event: ObjectEvent) => boolean {
  const byKind = Map.groupBy(
    entries.map((entry, i) => readEntry(entry, `entries[${i}]`)),
    ({ kind }) => kind,
  );
  return (event) => byKind.get(event.kind)?.some(({ holds }) => holds(event)) === true;
}

function readEntry({ kind: name, action, filters }: WatchRequest_WatchEntry, at: string): Entry {
  if (name === "") refuse(`${at}.kind: no kind of object specified: give one, as in "task"`);
  if ((action & (watchActions.create | watchActions.update | watchActions.remove)) === 0) {
    refuse(`${at}.action: unrecognized action ${action}: add up 1 (create), 2 (update) and 4 (remove)`);
  }
  const kind = kinds.find((candidate) => candidate === name && name !== "resource") ?? "resource";
  const conditions = filters.map((by, i) => {
    const filter = readFilter(by);
    const selectors =
      registry.messages[`docker.swarmkit.v1.${kind[0]!.toUpperCase()}${kind.slice(1)}`]!.watchSelectors!;
    if (filter === undefined || !selectors.includes(filter.selector)) {
      const what = filter?.selector ?? "that";
      refuse(`${at}.filters[${i}]: a ${kind} cannot be selected by ${what}: give one of ${selectors.join(", ")}`);
    }
    return filter;
  });
  const fixed = conditions.flatMap(({ fixes }) => fixes);
  const twice = fixed.find((each, i) => fixed.indexOf(each) !== i);
  if (twice !== undefined) {
    refuse(`${at}.filters: conflicting filters specified: more than one for ${twice}: use several entries instead`);
  }
  return {
    kind,
    holds: (event) =>
      (action & watchActions[event.action]) !== 0 &&
      (event.kind !== "resource" || event.object.kind === name) &&
      conditions.every(({ holds }) => holds(event)),
  };
}
