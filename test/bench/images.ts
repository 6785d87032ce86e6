import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unpackLayer } from "@starling/native";
import { exec, mustExec, until } from "../cluster/index.ts";
import { type BenchLayer, packLayers, writeLayout } from "./images/content.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const fixture = join(import.meta.dirname, "../images/pull.fixture.ts");
const mebibyte = 2 ** 20;

/**
 * An image of 500 MB of files of this machine's /usr in ten gzip layers: unpacked, layer after layer, against GNU tar and
 * umoci; pulled and unpacked against skopeo and umoci, from one local registry; memory of the process that pulls ten images.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), "starling-bench-images-"));
  let registry: { readonly address: string; readonly process: ChildProcess } | undefined;
  try {
    const layers = await packLayers(folder, 10, (quick ? 5 : 50) * 1e6);
    const layout = join(folder, "oci");
    writeLayout(layout, "all", layers);
    registry = await startRegistry(folder);
    await push(registry.address, layout, "all", layers);
    for (const [i, layer] of layers.entries()) {
      writeLayout(join(folder, "one"), `${i}`, [layer]);
      await push(registry.address, join(folder, "one"), `${i}`, [layer]);
    }
    const rounds = quick ? 1 : 5;
    return [
      ...(await unpacking(folder, layout, layers, rounds)),
      ...(await pulling(folder, registry.address, rounds)),
      await memory(folder, registry.address, layers.length),
    ];
  } finally {
    registry?.process.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Seconds of `work` on an empty folder, with nothing left to be written to the disk by others. */
async function timed(folder: string, work: (into: string) => Promise<unknown>): Promise<number> {
  const into = join(folder, "into");
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into);
  await mustExec(["sync", "-f", folder], { timeoutMs: 300_000 });
  const before = performance.now();
  await work(into);
  const seconds = (performance.now() - before) / 1000;
  rmSync(into, { recursive: true, force: true });
  return seconds;
}

async function unpacking(
  folder: string,
  layout: string,
  layers: readonly BenchLayer[],
  rounds: number,
): Promise<readonly BenchRow[]> {
  const { signal } = new AbortController();
  const ours: number[] = [];
  const oursSynced: number[] = [];
  const tar: number[] = [];
  const tarSynced: number[] = [];
  const umoci: number[] = [];
  const unpackAll = async (into: string) => {
    const syncs: Promise<void>[] = [];
    for (const [i, { file, size, digest, diffId }] of layers.entries()) {
      mkdirSync(join(into, `${i}`));
      const blob = { path: file, size };
      const options = { folder: join(into, `${i}`), blob, contentMax: 2 ** 40, entriesMax: 1e6, signal };
      const { layer, synced } = await unpackLayer(undefined, options);
      if (layer.digest !== digest || layer.diffId !== diffId) throw new Error(`layer ${digest} became ${layer.digest}`);
      syncs.push(synced);
    }
    return syncs;
  };
  const tarAll = async (into: string) => {
    for (const [i, { file }] of layers.entries()) {
      mkdirSync(join(into, `${i}`));
      await mustExec(["tar", "-C", join(into, `${i}`), "-xzpf", file, "--numeric-owner"], { timeoutMs: 300_000 });
    }
  };
  for (let round = 0; round < rounds; round++) {
    let syncs: Promise<void>[] = [];
    ours.push(
      await timed(folder, async (into) => {
        syncs = await unpackAll(into);
      }),
    );
    await Promise.allSettled(syncs);
    tar.push(await timed(folder, tarAll));
    oursSynced.push(await timed(folder, async (into) => Promise.all(await unpackAll(into))));
    tarSynced.push(
      await timed(folder, async (into) => {
        await tarAll(into);
        await mustExec(["sync", "-f", into], { timeoutMs: 300_000 });
      }),
    );
    const words = ["umoci", "unpack", "--image", `${layout}:all`];
    umoci.push(await timed(folder, (into) => mustExec([...words, join(into, "bundle")], { timeoutMs: 600_000 })));
  }
  const base = { bench: "images", unit: "s", better: "lower" } as const;
  const tarRow = rowOf({ ...base, case: "unpack 500 MB, GNU tar" }, tar);
  const tarSyncedRow = rowOf({ ...base, case: "unpack and sync, GNU tar and sync -f" }, tarSynced);
  const umociRow = rowOf({ ...base, case: "unpack 500 MB, umoci" }, umoci);
  const other = (row: BenchRow, name: string) => ({ other: { name, value: row.value } });
  return [
    rowOf(
      {
        ...base,
        case: "unpack 500 MB",
        target: Math.min(tarRow.value * 1.2, umociRow.value),
        ...other(tarRow, "GNU tar"),
      },
      ours,
    ),
    rowOf(
      { ...base, case: "unpack and sync", target: tarSyncedRow.value * 1.2, ...other(tarSyncedRow, "GNU tar") },
      oursSynced,
    ),
    tarRow,
    tarSyncedRow,
    umociRow,
  ];
}

async function pulling(folder: string, address: string, rounds: number): Promise<readonly BenchRow[]> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const pull = (into: string) => [process.execPath, fixture, join(into, "images"), `${address}/all:1`];
    ours.push(await timed(folder, (into) => mustExec(pull(into), { timeoutMs: 600_000 })));
    theirs.push(
      await timed(folder, async (into) => {
        const source = `docker://${address}/all:1`;
        const copy = [
          "skopeo",
          "--insecure-policy",
          "copy",
          "-q",
          "--src-tls-verify=false",
          source,
          `oci:${into}/oci:all`,
        ];
        await mustExec(copy, { timeoutMs: 600_000 });
        await mustExec(["umoci", "unpack", "--image", `${into}/oci:all`, join(into, "bundle")], { timeoutMs: 600_000 });
      }),
    );
  }
  const base = { bench: "images", unit: "s", better: "lower" } as const;
  const row = rowOf({ ...base, case: "pull and unpack 500 MB, skopeo and umoci" }, theirs);
  const other = { name: "skopeo, umoci", value: row.value };
  return [rowOf({ ...base, case: "pull and unpack 500 MB", target: row.value, other }, ours), row];
}

/** How much the resident memory of a process that pulls ten images at once grows at most. */
async function memory(folder: string, address: string, images: number): Promise<BenchRow> {
  const references = Array.from({ length: images }, (_, i) => `${address}/${i}:1`);
  const store = join(folder, "memory");
  const child = spawn(process.execPath, [fixture, store, ...references], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  const ended = new Promise((resolve) => child.once("close", resolve));
  await new Promise<void>((resolve) => child.stdout.setEncoding("utf8").once("data", () => resolve()));
  const atBegin = kibibytes(child.pid!, "VmRSS");
  let peak = atBegin;
  child.stdout.on("data", (text: string) => lines.push(text));
  while (child.exitCode === null && child.signalCode === null) {
    peak = Math.max(peak, kibibytes(child.pid!, "VmHWM"));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await ended;
  if (!lines.join("").includes("KiB")) throw new Error("bench images: the process that pulls failed");
  const base = { bench: "images", unit: "MiB", better: "lower" } as const;
  return rowOf({ ...base, case: "memory of ten pulls at once, growth", target: 30 }, [
    ((peak - atBegin) * 1024) / mebibyte,
  ]);
}

function kibibytes(pid: number, name: "VmRSS" | "VmHWM"): number {
  try {
    return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Debian's registry on a free port of loopback. */
async function startRegistry(folder: string): Promise<{ readonly address: string; readonly process: ChildProcess }> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = `127.0.0.1:${(probe.address() as AddressInfo).port}`;
  await new Promise((resolve) => probe.close(resolve));
  const config = join(folder, "registry.yml");
  const storage = { filesystem: { rootdirectory: join(folder, "registry") } };
  writeFileSync(config, JSON.stringify({ version: 0.1, log: { level: "error" }, storage, http: { addr: address } }));
  const child = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
  await until("the registry answers", async () => (await exec(["curl", "-sf", `http://${address}/v2/`])).code === 0);
  return { address, process: child };
}

async function push(address: string, layout: string, tag: string, layers: readonly BenchLayer[]): Promise<void> {
  const to = `docker://${address}/${tag}:1`;
  const copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", `oci:${layout}:${tag}`, to];
  await mustExec(copy, { timeoutMs: 60_000 * layers.length });
}
