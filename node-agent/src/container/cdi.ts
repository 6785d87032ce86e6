import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BundleMount } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";
import { devicesAt, type HostDevices } from "./devices.ts";

/** What a container gets with devices of the Container Device Interface (cncf-tags/container-device-interface, SPEC 0.8). */
export interface CdiEdits extends HostDevices {
  readonly env: readonly string[];
  readonly mounts: readonly BundleMount[];
}

/** Where vendors' tools put their specs; the later folder wins. */
export const cdiFolders = ["/etc/cdi", "/var/run/cdi"];

interface Edits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly {
    readonly path: string;
    readonly hostPath?: string;
    readonly permissions?: string;
  }[];
  readonly mounts?: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly options?: readonly string[];
  }[];
  readonly hooks?: readonly { readonly hookName: string; readonly path: string }[];
}

interface CdiSpec {
  readonly file: string;
  readonly kind: string;
  readonly containerEdits: Edits;
  readonly devices: ReadonlyMap<string, Edits>;
}

const specMaxBytes = 4 << 20;

/**
 * The edits of `names` (`vendor.com/class=device`), each once. Specs are read anew each time: drivers write them when
 * they find their hardware. Throws FatalTaskError for devices that no spec has, naming what there is.
 */
export async function cdiEdits(names: readonly string[], folders: readonly string[] = cdiFolders): Promise<CdiEdits> {
  if (names.length === 0) return { devices: [], rules: [], env: [], mounts: [] };
  const specs = await readSpecs(folders);
  const wanted: Edits[] = [];
  const whole = new Set<CdiSpec>();
  for (const name of new Set(names)) {
    const [kind, device] = name.split("=") as [string, string];
    const spec = specs.findLast((one) => one.kind === kind && one.devices.has(device));
    if (spec === undefined) {
      const known = specs.flatMap((one) => [...one.devices.keys()].map((key) => `${one.kind}=${key}`));
      const found = `CDI device ${name}: not on this node, which has ${known.join(", ") || "none"}`;
      throw new FatalTaskError(`${found} (in *.json of ${folders.join(" and ")}; YAML is not read)`);
    }
    if (!whole.has(spec)) wanted.push(spec.containerEdits);
    whole.add(spec);
    wanted.push(spec.devices.get(device)!);
  }
  const edits = await Promise.all(wanted.map(resolveEdits));
  return {
    devices: edits.flatMap(({ devices }) => devices),
    rules: edits.flatMap(({ rules }) => rules),
    env: edits.flatMap(({ env }) => env),
    mounts: edits.flatMap(({ mounts }) => mounts),
  };
}

async function resolveEdits({ env = [], deviceNodes = [], mounts = [] }: Edits): Promise<CdiEdits> {
  const nodes = await Promise.all(
    deviceNodes.map(async ({ path, hostPath, permissions }) => {
      const found = await devicesAt(hostPath ?? path, path);
      if (found.length === 0) throw new FatalTaskError(`CDI: ${hostPath ?? path} is no device on this node`);
      return { found, access: permissions ?? "rwm" };
    }),
  );
  return {
    env,
    devices: nodes.flatMap(({ found }) => found),
    rules: nodes.flatMap(({ found, access }) =>
      found.map(({ type, major, minor }) => ({ type, major, minor, access })),
    ),
    mounts: mounts.map(({ hostPath, containerPath, options = [] }) => ({
      type: "bind",
      source: hostPath,
      target: containerPath,
      readOnly: options.includes("ro"),
      recursive: options.includes("rbind"),
    })),
  };
}

async function readSpecs(folders: readonly string[]): Promise<readonly CdiSpec[]> {
  const files = await Promise.all(
    folders.map(async (folder) => (await readdir(folder).catch(() => [])).sort().map((name) => join(folder, name))),
  );
  const specs = await Promise.all(files.flat().map(readSpec));
  return specs.filter((spec) => spec !== undefined);
}

async function readSpec(file: string): Promise<CdiSpec | undefined> {
  if (!file.endsWith(".json")) return undefined;
  const text = await readFile(file, "utf8");
  try {
    if (text.length > specMaxBytes) throw new Error("is larger than 4 MiB");
    return specOf(file, JSON.parse(text) as Record<string, unknown>);
  } catch (error) {
    throw new FatalTaskError(`CDI: ${file}: ${(error as Error).message}`);
  }
}

function specOf(file: string, spec: Record<string, unknown>): CdiSpec {
  if (typeof spec["kind"] !== "string") throw new Error("kind: must be vendor/class");
  const devices = new Map<string, Edits>();
  for (const [i, device] of listOf(spec["devices"], "devices").entries()) {
    const { name, containerEdits } = recordOf(device, `devices[${i}]`);
    if (typeof name !== "string") throw new Error(`devices[${i}].name: must be a text`);
    devices.set(name, editsOf(containerEdits, `devices[${i}].containerEdits`));
  }
  return { file, kind: spec["kind"], containerEdits: editsOf(spec["containerEdits"], "containerEdits"), devices };
}

function editsOf(value: unknown, path: string): Edits {
  if (value === undefined) return {};
  const edits = recordOf(value, path) as Edits & Record<string, unknown>;
  const isText = (item: unknown) => typeof item === "string";
  const isPath = (item: unknown) => typeof item === "string" && item.startsWith("/");
  if (!listOf(edits.env, `${path}.env`).every(isText)) throw new Error(`${path}.env: must be a list of NAME=value`);
  for (const [i, node] of listOf(edits.deviceNodes, `${path}.deviceNodes`).entries()) {
    const { path: target, hostPath = target, permissions = "rwm" } = recordOf(node, `${path}.deviceNodes[${i}]`);
    if (!isPath(target) || !isPath(hostPath)) throw new Error(`${path}.deviceNodes[${i}].path: must be absolute`);
    if (!/^[rwm]{1,3}$/.test(String(permissions)))
      throw new Error(`${path}.deviceNodes[${i}].permissions: of r, w and m`);
  }
  for (const [i, mount] of listOf(edits.mounts, `${path}.mounts`).entries()) {
    const { hostPath, containerPath } = recordOf(mount, `${path}.mounts[${i}]`);
    if (!isPath(hostPath) || !isPath(containerPath)) throw new Error(`${path}.mounts[${i}]: paths must be absolute`);
  }
  return edits;
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error(`${path}: must be a list`);
  return value;
}

function recordOf(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${path}: must be an object`);
  return value as Record<string, unknown>;
}
