import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Host } from "../cluster/index.ts";

/** A map's values by key; all as hexadecimal digits. */
export type Entries = ReadonlyMap<string, string>;

/** A program's maps, by name. */
export interface ProgramMaps {
  /** In the kernel. */
  readonly ids: Readonly<Record<string, number>>;
  readonly entries: Readonly<Record<string, Entries>>;
}

/** The program's hashes and arrays, those named alone if any are, and what is in them. */
export async function mapsOf(program: number, names?: readonly string[]): Promise<ProgramMaps> {
  const all = await (mapsOfProgram.get(program) ?? lookAtMaps(program));
  const maps = all.filter(({ name }) => names?.includes(name) ?? true);
  type Dump = readonly { readonly key: readonly string[]; readonly value: readonly string[] }[];
  const digits = (bytes: readonly string[]) => bytes.map((byte) => byte.slice(2)).join("");
  const entries = await Promise.all(
    maps.map(async ({ id, name }) => {
      const dump = await bpftool<Dump>("map", "dump", "id", String(id));
      return [name, new Map(dump.map(({ key, value }) => [digits(key), digits(value)]))] as const;
    }),
  );
  return { ids: Object.fromEntries(maps.map(({ id, name }) => [name, id])), entries: Object.fromEntries(entries) };
}

export interface DevicePrograms {
  readonly links: readonly { readonly ifindex: number; readonly ifname: string; readonly master?: string }[];
  /** Ids of programs for what comes in, one for each device that has one. */
  readonly attached: readonly number[];
}

/** The host's devices, and programs at those whose names the expression matches. */
export async function programsAt(host: Host, names: string): Promise<DevicePrograms> {
  const show = `for d in $(ls /sys/class/net | grep -E '${names}'); do tc -j filter show dev $d ingress; echo; done`;
  const [links, filters] = await Promise.all([
    host.mustExec(["ip", "-j", "link", "show"]),
    // A device may go meanwhile.
    host.exec(["bash", "-c", show]),
  ]);
  type Filter = { readonly options?: { readonly prog?: { readonly id: number } } };
  const lists = filters.stdout.split("\n").filter((line) => line !== "");
  return {
    links: JSON.parse(links) as DevicePrograms["links"],
    attached: lists.flatMap((list) =>
      (JSON.parse(list) as readonly Filter[]).flatMap(({ options }) => options?.prog?.id ?? []),
    ),
  };
}

/** Maps that can be listed, by the program's id: always the same, while looks should be quick. */
const mapsOfProgram = new Map<number, Promise<readonly KernelMap[]>>();

interface KernelMap {
  readonly id: number;
  readonly name: string;
  readonly type: string;
}

function lookAtMaps(program: number): Promise<readonly KernelMap[]> {
  const look = async () => {
    const { map_ids: ids = [] } = await bpftool<{ map_ids?: readonly number[] }>("prog", "show", "id", String(program));
    const maps = await Promise.all(ids.map((id) => bpftool<KernelMap>("map", "show", "id", String(id))));
    return maps.filter(({ type }) => type === "hash" || type === "array");
  };
  const looking = look();
  mapsOfProgram.set(program, looking);
  looking.catch(() => mapsOfProgram.delete(program));
  return looking;
}

export async function bpftool<T>(...args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)("bpftool", ["-j", ...args], { maxBuffer: 1 << 26 });
  return (stdout.trim() === "" ? [] : JSON.parse(stdout)) as T;
}
