import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ListNodeVolumesRequest,
  type NodeVolume,
  PruneNodeVolumesRequest,
  RemoveNodeVolumeRequest,
} from "@starling/api";
import { SwarmError } from "@starling/base";
import { afterEach, beforeEach, expect, it } from "vitest";
import { nodeVolumesHandlers } from "./node-volumes.ts";
import { VolumeStore } from "./volumes.ts";

let folder: string;
let volumes: VolumeStore;
let handlers: ReturnType<typeof nodeVolumesHandlers>;
const users = new Map<string, readonly string[]>();
const { signal } = new AbortController();

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-volumes-"));
  volumes = new VolumeStore(folder);
  handlers = nodeVolumesHandlers({ volumes, users: async () => users, open: () => volumes.open() });
  users.clear();
  const made = { labels: {}, options: {}, anonymous: false, createdAtMs: 5_000 };
  const wanted = [
    { ...made, name: "data", labels: { tier: "db" } },
    { ...made, name: "other" },
    { ...made, name: "t1.work", anonymous: true },
  ];
  await volumes.withVolumes(wanted, async () => {});
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function list(...names: string[]): Promise<readonly NodeVolume[]> {
  const found: NodeVolume[] = [];
  for await (const volume of handlers.list(ListNodeVolumesRequest.create({ names }), signal)) found.push(volume);
  return found;
}

const names = async () => (await list()).map(({ name }) => name);
const remove = (name: string) => handlers.remove(RemoveNodeVolumeRequest.create({ name }), signal);
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => "none",
    (error) => `${SwarmError.from(error).code}: ${SwarmError.from(error).message}`,
  );

it("lists volumes by name, with what is known of them and who uses them", async () => {
  users.set("data", ["db.1.abc"]);
  expect(await names()).toEqual(["data", "other", "t1.work"]);
  expect(await list("data", "none")).toMatchObject([
    {
      name: "data",
      mountpoint: join(folder, "data", "_data"),
      created: { seconds: 5 },
      labels: { tier: "db" },
      usedBy: ["db.1.abc"],
    },
  ]);
});

it("removes what nobody uses, and nothing else", async () => {
  users.set("data", ["db.1.abc"]);
  expect(await refusal(remove("data"))).toBe(
    "FailedPrecondition: volume data is in use by db.1.abc: remove or stop that first",
  );
  expect(await refusal(remove("nosuch"))).toBe("NotFound: no such volume: nosuch");
  expect(await refusal(remove("../x"))).toBe("NotFound: no such volume: ../x");
  writeFileSync(join(folder, "other", "_data", "file"), Buffer.alloc(10_000));
  const { freedBytes } = await remove("other");
  expect(freedBytes).toBeGreaterThanOrEqual(10_000);
  expect(existsSync(join(folder, "other"))).toBe(false);
  expect(await names()).toEqual(["data", "t1.work"]);
});

it("prunes anonymous volumes; named ones when asked to, by their labels; none in use", async () => {
  const prune = async (request: Partial<PruneNodeVolumesRequest>) =>
    (await handlers.prune(PruneNodeVolumesRequest.create(request), signal)).names;
  expect(await prune({ labels: ["tier"] })).toEqual([]);
  expect(await prune({})).toEqual(["t1.work"]);
  users.set("other", ["web.1.abc"]);
  expect(await prune({ all: true, withoutLabels: ["tier=db"] })).toEqual([]);
  expect(await prune({ all: true, labels: ["tier=db"] })).toEqual(["data"]);
  expect(await names()).toEqual(["other"]);
});

it("finishes a removal that a crash cut short", async () => {
  const half = join(folder, ".removed-1");
  await volumes.open();
  expect(existsSync(half)).toBe(false);
  writeFileSync(half, "");
  await new VolumeStore(folder).open();
  expect(existsSync(half)).toBe(false);
});
