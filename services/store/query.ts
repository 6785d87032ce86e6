/** Pure: no clock, no I/O, no randomness. */
import type { NodeRole, NodeSpec_Membership, TaskState } from "@starling/api";
import type { Kind } from "./objects.ts";

/** Separates the parts of index keys; no name or id holds it. */
export const SEPARATOR = "\0";

/**
 * What `find` selects by. `K` is the kinds of object it applies to; a finder of another table does not compile.
 * An index lookup selects objects with a key that equals `key`, or starts with it.
 */
export type By<K extends Kind = never> = Selection & { readonly "~kinds"?: (kind: K) => void };

type Selection =
  | { readonly t: "all" }
  | { readonly t: "index"; readonly index: IndexName; readonly key: string; readonly prefix: boolean }
  | { readonly t: "or"; readonly any: readonly Selection[] };

export type IndexName =
  | "id"
  | "name"
  | "custom"
  | "runtime"
  | "slot"
  | "node"
  | "desiredState"
  | "taskState"
  | "network"
  | "secret"
  | "config"
  | "volume"
  | "role"
  | "membership"
  | "kind"
  | "group"
  | "driver";

const exact = (index: IndexName, key: string): Selection => ({ t: "index", index, key, prefix: false });
const prefixed = (index: IndexName, key: string): Selection => ({ t: "index", index, key, prefix: true });

export const all: By<Kind> = { t: "all" };
export const byId = (id: string): By<Kind> => exact("id", id);
export const byIdPrefix = (prefix: string): By<Kind> => prefixed("id", prefix);
/** Names compare without case. A node's name is its hostname, a task's is made by `taskName`. */
export const byName = (name: string): By<Kind> => exact("name", name.toLowerCase());
export const byNamePrefix = (prefix: string): By<Kind> => prefixed("name", prefix.toLowerCase());
/** Objects whose annotations carry the index entry `key` = `value`. */
export const byCustom = (key: string, value: string): By<Kind> => exact("custom", `${key}|${value}`);
export const byCustomPrefix = (key: string, prefix: string): By<Kind> => prefixed("custom", `${key}|${prefix}`);
/** "container", "attachment" or a generic runtime's kind. */
export const byRuntime = (runtime: string): By<"service" | "task"> => exact("runtime", runtime.toLowerCase());
/** Tasks of a service, in order of slot number's digits. */
export const byService = (serviceId: string): By<"task"> => prefixed("slot", serviceId + SEPARATOR);
export const bySlot = (serviceId: string, slot: number): By<"task"> => exact("slot", serviceId + SEPARATOR + slot);
/** Tasks on a node; `""` selects those without one. */
export const byNode = (nodeId: string): By<"task"> => exact("node", nodeId);
export const byDesiredState = (state: TaskState): By<"task"> => exact("desiredState", String(state));
export const byTaskState = (state: TaskState): By<"task"> => exact("taskState", String(state));
export const byReferencedNetwork = (networkId: string): By<"service" | "task"> => exact("network", networkId);
export const byReferencedSecret = (secretId: string): By<"service" | "task"> => exact("secret", secretId);
export const byReferencedConfig = (configId: string): By<"service" | "task"> => exact("config", configId);
export const byVolumeAttachment = (volumeId: string): By<"task"> => exact("volume", volumeId);
export const byRole = (role: NodeRole): By<"node"> => exact("role", String(role));
export const byMembership = (membership: NodeSpec_Membership): By<"node"> => exact("membership", String(membership));
/** Resources of an extension. */
export const byKind = (kind: string): By<"resource"> => exact("kind", kind);
export const byVolumeGroup = (group: string): By<"volume"> => exact("group", group);
export const byDriver = (driver: string): By<"volume"> => exact("driver", driver);
/** What any of the finders selects, each object once. */
export const or = <K extends Kind>(...any: readonly By<K>[]): By<K> => ({ t: "or", any });
