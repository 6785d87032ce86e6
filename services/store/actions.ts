/** Pure: no clock, no I/O, no randomness. */
import { StoreAction, StoreActionKind } from "@starling/api";
import { kinds, type ObjectEvent } from "./objects.ts";

/** A transaction's serialized size at most: Swarm's limit, and what its managers accept. */
export const TRANSACTION_BYTES_MAX = 1.5 * 1024 * 1024;
/** Changes per transaction at which `batch` starts the next one. */
export const BATCH_CHANGES_MAX = 200;

const actionKinds = {
  create: StoreActionKind.STORE_ACTION_CREATE,
  update: StoreActionKind.STORE_ACTION_UPDATE,
  remove: StoreActionKind.STORE_ACTION_REMOVE,
} as const;

function toAction(change: ObjectEvent): StoreAction {
  return StoreAction.create({ action: actionKinds[change.action], [change.kind]: change.object });
}

/** What an action from the log does. Throws when it is none that this version knows. */
export function fromAction(action: StoreAction): ObjectEvent {
  const kind = kinds.find((each) => action[each] !== undefined);
  if (kind === undefined) throw new Error("store action has no target of a kind that this version knows");
  const object = action[kind]!;
  switch (action.action) {
    case StoreActionKind.STORE_ACTION_CREATE:
      return { kind, action: "create", object } as ObjectEvent;
    case StoreActionKind.STORE_ACTION_UPDATE:
      return { kind, action: "update", object } as ObjectEvent;
    case StoreActionKind.STORE_ACTION_REMOVE:
      return { kind, action: "remove", object } as ObjectEvent;
    default:
      throw new Error(`store action on ${kind} ${object.id} is of the unknown kind ${action.action}`);
  }
}

/** A transaction's changes as they are proposed, and their bytes: each is worked out once. */
export class Actions {
  readonly list: StoreAction[] = [];
  /** Encodings, tags and lengths. */
  bytes = 0;

  /** Takes the changes that were added since the last call. */
  follow(changes: readonly ObjectEvent[]): void {
    for (let at = this.list.length; at < changes.length; at++) {
      const action = toAction(changes[at]!);
      this.list.push(action);
      this.bytes += StoreAction.byteLength(action) + 6;
    }
  }
}
