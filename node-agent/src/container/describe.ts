import { cpus, totalmem } from "node:os";
import {
  EngineDescription,
  type GenericResource,
  NodeDescription,
  ownNodePlugin,
  Platform,
  PluginDescription,
  Resources,
} from "@starling/api";

import { logDrivers } from "./log-driver.ts";

const version = "0.1.0";

/** Go's name of this machine's architecture, as image indexes write it. */
export function goArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

/** uname's name of it, as Swarm's nodes register. */
function unameArchitecture(): string {
  return process.arch === "x64" ? "x86_64" : process.arch === "arm64" ? "aarch64" : process.arch;
}

const plugins: readonly (readonly [type: string, name: string])[] = [
  ...logDrivers.map((name) => ["Log", name] as const),
  ...["bridge", "host", "ipvlan", "macvlan", "overlay"].map((name) => ["Network", name] as const),
  ["Volume", "local"],
];

/** What this node registers with. */
export function describeNode(options: {
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly generic: readonly GenericResource[];
}): NodeDescription {
  return NodeDescription.create({
    hostname: options.hostname,
    platform: Platform.create({ os: "linux", architecture: unameArchitecture() }),
    resources: Resources.create({ nanoCpus: cpus().length * 1e9, memoryBytes: totalmem(), generic: options.generic }),
    engine: EngineDescription.create({
      engineVersion: version,
      labels: options.labels,
      plugins: [...plugins.map(([type, name]) => PluginDescription.create({ type, name })), ownNodePlugin],
    }),
  });
}
