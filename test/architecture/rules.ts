/** Pure: no clock, no I/O, no randomness. */

/** A package of the working tree: its folder, the name that others import, and whom it may import. */
export interface PackageRule {
  readonly folder: string;
  readonly name: string;
  /** Names of packages; "*" for all. npm's packages and Node's modules are not restricted here. */
  readonly may: readonly string[];
}

const base = "@starling/base";
const api = "@starling/api";
const store = "@starling/store";
const native = "@starling/native";
const registry = "@starling/registry";
const stationNames = ["orchestrator", "allocator", "scheduler", "dispatcher", "ca", "log-broker", "control-api"];
const station = (name: string) => `@starling/${name}`;
const stations = stationNames.map(station);
const raftNode = "@starling/raft-node";

/** ARCHITECTURE.md, "Layout and import rules". */
export const packageRules: readonly PackageRule[] = [
  { folder: "services/base", name: base, may: [] },
  { folder: "services/api", name: api, may: [base] },
  { folder: "services/registry", name: registry, may: [base, api] },
  { folder: "services/raft-ts", name: "raft-ts", may: [] },
  { folder: "services/store", name: store, may: [base, api] },
  { folder: "services/raft-node", name: raftNode, may: [base, api, store, "raft-ts"] },
  ...stationNames.map((name) => ({ folder: `services/${name}`, name: station(name), may: [base, api, store] })),
  {
    folder: "services/manager",
    name: "@starling/manager",
    may: [base, api, store, registry, raftNode, "raft-ts", ...stations],
  },
  {
    folder: "services/swarmd",
    name: "@starling/swarmd",
    may: [base, api, registry, "@starling/manager", "@starling/node-agent", "@starling/ca"],
  },
  { folder: "services/swarmctl", name: "@starling/swarmctl", may: [base, api] },
  { folder: "node-agent", name: "@starling/node-agent", may: [base, api, registry, native] },
  { folder: "native", name: native, may: [] },
  { folder: "proto", name: "@starling/proto", may: ["*"] },
  { folder: "deploy", name: "@starling/deploy", may: ["*"] },
  { folder: "test", name: "@starling/test", may: ["*"] },
];

/** Packages that are pure as a whole, tests aside. */
export const purePackages: readonly string[] = ["raft-ts"];

/** Parts of services/orchestrator that its other parts may use. */
export const sharedOrchestratorParts: readonly string[] = ["update", "restart", "task-init"];

/** C++ folders of native/ and the folders whose headers each may include, beside its own; "*" for all. */
export const nativeRules: Readonly<Record<string, readonly string[]>> = {
  base: [],
  sys: ["base"],
  cgroup: ["base", "sys"],
  rootfs: ["base", "sys"],
  net: ["base", "sys"],
  unpack: ["base", "sys", "runtime"],
  bpf: ["base", "sys"],
  runtime: ["base", "sys", "cgroup", "rootfs"],
  oci: ["base", "sys", "cgroup", "rootfs", "runtime"],
  binding: ["*"],
  shim: ["*"],
  tools: ["*"],
  fuzz: ["*"],
  test: ["*"],
};
