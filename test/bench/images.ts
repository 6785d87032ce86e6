import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unpackLayer } from "@starling/native";
import { mustExec } from "../cluster/index.ts";
import { type BenchLayer, packLayers, writeLayout } from "./images/content.ts";
import { memory } from "./images/memory.ts";
import { push, startRegistry } from "./images/registry.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const fixture = join(import.meta.dirname, "../images/pull.fixture.ts");

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
