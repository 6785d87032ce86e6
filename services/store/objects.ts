/** Pure: no clock, no I/O, no randomness. */
import type { Cluster, Config, Extension, Network, Node, Resource, Secret, Service, Task, Volume } from "@starling/api";

/** The kinds of object that a cluster is made of, each with its message. */
export interface ObjectOf {
  readonly cluster: Cluster;
  readonly config: Config;
  readonly extension: Extension;
  readonly network: Network;
  readonly node: Node;
  readonly resource: Resource;
  readonly secret: Secret;
  readonly service: Service;
  readonly task: Task;
  readonly volume: Volume;
}
export type Kind = keyof ObjectOf;
export type StoreObject = ObjectOf[Kind];

export const kinds = [
  "cluster",
  "config",
  "extension",
  "network",
  "node",
  "resource",
  "secret",
  "service",
  "task",
  "volume",
] as const satisfies readonly Kind[];

/** `"task"` → `"tasks"`: tables and snapshot fields are named by the plural. */
export function tableName<K extends Kind>(kind: K): `${K}s` {
  return `${kind}s`;
}

/** A committed change. `old` is what an update replaced; `object` of a remove is the last state. */
export type ObjectEvent<K extends Kind = Kind> = {
  [Each in K]: {
    readonly kind: Each;
    readonly action: "create" | "update" | "remove";
    readonly object: ObjectOf[Each];
    readonly old?: ObjectOf[Each];
  };
}[K];

/** Ends the events of one transaction. `version` is the log index that committed it. */
export interface CommitEvent {
  readonly kind: "commit";
  readonly version: number;
}

export type StoreEvent = ObjectEvent | CommitEvent;
export type EventKind = StoreEvent["kind"];
export type EventOf<K extends EventKind> = Extract<StoreEvent, { readonly kind: K }>;
