/** Pure: no clock, no I/O, no randomness. */
import protobuf from "protobufjs";

/** How a scalar is read and written; `bigint` marks the 64-bit fields that hold raft ids. */
export type Scalar =
  | "double"
  | "float"
  | "int32"
  | "uint32"
  | "bool"
  | "string"
  | "bytes"
  | "int64"
  | "uint64"
  | "id64";

export type FieldType =
  | { readonly t: "scalar"; readonly scalar: Scalar }
  | { readonly t: "enum"; readonly name: string }
  | { readonly t: "message"; readonly name: string };

export interface FieldModel {
  readonly name: string;
  readonly protoName: string;
  readonly number: number;
  readonly type: FieldType;
  readonly repeated: boolean;
  readonly packed: boolean;
  /** Key scalar, when the field is a map. */
  readonly mapKey: Scalar | undefined;
  readonly oneof: string | undefined;
  /** Written even when zero or unset (gogoproto.nullable = false); a message field of this kind is never undefined. */
  readonly alwaysSent: boolean;
}

export interface MessageModel {
  readonly name: string;
  readonly fullName: string;
  readonly comment: string | undefined;
  readonly fields: readonly FieldModel[];
  readonly watchSelectors: readonly string[] | undefined;
}

export interface EnumModel {
  readonly name: string;
  readonly fullName: string;
  readonly values: Readonly<Record<string, number>>;
}

export interface MethodModel {
  readonly name: string;
  readonly path: string;
  readonly request: string;
  readonly response: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly roles: readonly string[] | "any";
}

export interface ServiceModel {
  readonly name: string;
  readonly fullName: string;
  readonly methods: readonly MethodModel[];
}

export interface Model {
  readonly messages: readonly MessageModel[];
  readonly enums: readonly EnumModel[];
  readonly services: readonly ServiceModel[];
}

/** 64-bit fields that hold random ids, beyond what a number can: `bigint` in TypeScript. All others are numbers. */
const idFields = new Set([
  "docker.swarmkit.v1.ClusterSnapshot.removed",
  "docker.swarmkit.v1.InternalRaftRequest.id",
  "docker.swarmkit.v1.JoinResponse.raft_id",
  "docker.swarmkit.v1.JoinResponse.removed_members",
  "docker.swarmkit.v1.ManagerStatus.raft_id",
  "docker.swarmkit.v1.RaftMember.raft_id",
  "docker.swarmkit.v1.ResolveAddressRequest.raft_id",
  "raftpb.ConfChange.id",
  "raftpb.ConfChange.node_id",
  "raftpb.ConfChangeSingle.node_id",
  "raftpb.ConfState.voters",
  "raftpb.ConfState.learners",
  "raftpb.ConfState.voters_outgoing",
  "raftpb.ConfState.learners_next",
  "raftpb.HardState.vote",
  "raftpb.Message.to",
  "raftpb.Message.from",
  "raftpb.Message.vote",
  "starling.v1.RaftBatch.from",
  "starling.v1.RaftBatch.to",
]);

/** Names that would hide a JavaScript global. */
const renamed = new Map([["docker.swarmkit.v1.Object", "StoreObject"]]);

/** `docker.swarmkit.v1.NodeSpec.Membership` → `NodeSpec_Membership`; raftpb gets the prefix `Raftpb`. */
export function exportName(fullName: string): string {
  const special = renamed.get(fullName);
  if (special) return special;
  const [prefix, rest] = splitPackage(fullName);
  return prefix + rest.replaceAll(".", "_");
}

function splitPackage(fullName: string): [prefix: string, rest: string] {
  for (const [pkg, prefix] of [
    ["docker.swarmkit.v1.", ""],
    ["starling.v1.", ""],
    ["raftpb.", "Raftpb"],
    ["google.protobuf.", ""],
  ] as const) {
    if (fullName.startsWith(pkg)) return [prefix, fullName.slice(pkg.length)];
  }
  throw new Error(`${fullName}: package is not one of ours`);
}

/** Everything that is generated, in a stable order, from a resolved protobufjs root. */
export function buildModel(root: protobuf.Root): Model {
  const messages: MessageModel[] = [];
  const enums: EnumModel[] = [];
  const services: ServiceModel[] = [];
  const visit = (node: protobuf.ReflectionObject) => {
    const fullName = node.fullName.replace(/^\./, "");
    const ours =
      /^(docker\.swarmkit\.v1|starling\.v1|raftpb)\.|^google\.protobuf\.(Any|Timestamp|Duration|\w+Value)$/.test(
        fullName,
      );
    if (node instanceof protobuf.Type && ours) messages.push(messageModel(node, fullName));
    if (node instanceof protobuf.Enum && ours) {
      enums.push({ name: exportName(fullName), fullName, values: { ...node.values } });
    }
    if (node instanceof protobuf.Service && ours) services.push(serviceModel(node, fullName));
    if (node instanceof protobuf.Namespace) for (const child of node.nestedArray) visit(child);
  };
  visit(root);
  const used = reachableGoogle(messages);
  const model = {
    messages: messages.filter((m) => !m.fullName.startsWith("google.") || used.has(m.name)),
    enums: enums.filter((e) => !e.fullName.startsWith("google.")),
    services,
  };
  const seen = new Set<string>();
  for (const { name, fullName } of [...model.messages, ...model.enums, ...model.services]) {
    if (seen.has(name)) throw new Error(`${fullName}: the exported name ${name} is taken`);
    seen.add(name);
  }
  return model;
}

/** Google's messages that some message of ours uses. */
function reachableGoogle(messages: readonly MessageModel[]): Set<string> {
  const used = new Set<string>();
  for (const message of messages) {
    if (message.fullName.startsWith("google.")) continue;
    for (const field of message.fields) if (field.type.t === "message") used.add(field.type.name);
  }
  return used;
}

function messageModel(type: protobuf.Type, fullName: string): MessageModel {
  const options = (type.parsedOptions ?? []) as readonly Record<string, unknown>[];
  let watchSelectors: string[] | undefined;
  for (const option of options) {
    const value = option["(docker.protobuf.plugin.store_object)"] as
      | { watch_selectors?: Record<string, boolean> }
      | undefined;
    if (value) watchSelectors = Object.keys(value.watch_selectors ?? {});
  }
  return {
    name: exportName(fullName),
    fullName,
    comment: type.comment ?? undefined,
    fields: type.fieldsArray.map((field) => fieldModel(field, fullName)),
    watchSelectors,
  };
}

function fieldModel(field: protobuf.Field, parent: string): FieldModel {
  const protoName = field.name;
  const isMap = field instanceof protobuf.MapField;
  return {
    name: camelCase(protoName),
    protoName,
    number: field.id,
    type: fieldType(field, `${parent}.${protoName}`),
    repeated: field.repeated,
    packed: field.repeated && field.packed && isPackable(field),
    mapKey: isMap ? scalarOf((field as protobuf.MapField).keyType, "") : undefined,
    oneof: field.partOf && !field.partOf.isProto3Optional ? field.partOf.name : undefined,
    alwaysSent: field.options?.["(gogoproto.nullable)"] === false,
  };
}

/** Only numbers, bools and enums can be packed. */
function isPackable(field: protobuf.Field): boolean {
  return (
    field.resolvedType instanceof protobuf.Enum || (field.resolvedType === null && !/^(string|bytes)$/.test(field.type))
  );
}

function fieldType(field: protobuf.Field, path: string): FieldType {
  const resolved = field.resolvedType;
  if (resolved instanceof protobuf.Type) {
    return { t: "message", name: exportName(resolved.fullName.replace(/^\./, "")) };
  }
  if (resolved instanceof protobuf.Enum) {
    return { t: "enum", name: exportName(resolved.fullName.replace(/^\./, "")) };
  }
  return { t: "scalar", scalar: scalarOf(field.type, path) };
}

function scalarOf(type: string, path: string): Scalar {
  if (type === "uint64" && idFields.has(path)) return "id64";
  if (/^(double|float|int32|uint32|bool|string|bytes|int64|uint64)$/.test(type)) return type as Scalar;
  throw new Error(`${path}: type ${type} is not supported by the generator`);
}

/** `raft_id` → `raftId`, `VXLANUDPPort` → `vxlanUdpPort`, `Term` → `term`, `defaultAddressPool` stays. */
function camelCase(name: string): string {
  if (name === "VXLANUDPPort") return "vxlanUdpPort";
  if (name === "RootCA") return "rootCa";
  const camel = name.replace(/_+([a-zA-Z0-9])/g, (_all, next: string) => next.toUpperCase());
  return camel.charAt(0).toLowerCase() + camel.slice(1);
}

function serviceModel(service: protobuf.Service, fullName: string): ServiceModel {
  return {
    name: exportName(fullName),
    fullName,
    methods: service.methodsArray.map((method) => ({
      name: method.name,
      path: `/${fullName}/${method.name}`,
      request: exportName(method.resolvedRequestType!.fullName.replace(/^\./, "")),
      response: exportName(method.resolvedResponseType!.fullName.replace(/^\./, "")),
      requestStream: method.requestStream ?? false,
      responseStream: method.responseStream ?? false,
      roles: methodRoles(method, fullName),
    })),
  };
}

/** A method without a rule is a mistake: nobody would have decided who may call it. */
function methodRoles(method: protobuf.Method, service: string): readonly string[] | "any" {
  const options = (method.parsedOptions ?? []) as readonly Record<string, unknown>[];
  for (const option of options) {
    const rule = option["(docker.protobuf.plugin.tls_authorization)"] as
      | { roles?: string | string[]; insecure?: boolean }
      | undefined;
    if (rule?.insecure === true) return "any";
    if (rule?.roles !== undefined) return [rule.roles].flat();
  }
  throw new Error(`${service}.${method.name}: no tls_authorization option says who may call it`);
}

/** `ListNodes` → `listNodes`, `GetRootCACertificate` → `getRootCACertificate`. */
export function methodKey(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}
