export { BATCH_CHANGES_MAX, fromAction, TRANSACTION_BYTES_MAX } from "./actions.ts";
export { MemoryStore } from "./memory-store.ts";
export type {
  CommitEvent,
  EventKind,
  EventOf,
  Kind,
  ObjectEvent,
  ObjectOf,
  StoreEvent,
  StoreObject,
} from "./objects.ts";
export { kinds, tableName } from "./objects.ts";
export type { Proposer, StateMachine, StateRestore } from "./proposer.ts";
export {
  all,
  type By,
  byCustom,
  byCustomPrefix,
  byDesiredState,
  byDriver,
  byId,
  byIdPrefix,
  byKind,
  byMembership,
  byName,
  byNamePrefix,
  byNode,
  byReferencedConfig,
  byReferencedNetwork,
  byReferencedSecret,
  byRole,
  byRuntime,
  byService,
  bySlot,
  byTaskState,
  byVolumeAttachment,
  byVolumeGroup,
  or,
} from "./query.ts";
export type { ReadTx } from "./tables/root.ts";
export type { ReadTable } from "./tables/table.ts";
export type { WriteTable, WriteTx } from "./transaction.ts";
export type { WatchOptions } from "./watch.ts";
