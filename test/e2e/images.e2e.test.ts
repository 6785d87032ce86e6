import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** One line of `swarmctl image ls --format json`. */
interface ImageRow {
  readonly repository: string;
  readonly tag: string;
  readonly nodes: readonly string[];
  readonly usedBy: readonly string[];
}

const app = "app.internal/app:1";
const sleep = ["sleep", "infinity"];

let stage: Stage;
let folder: string;
/** docker save's archive of an image of the registry, under the name `app`. */
let archive: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-images-"));
  stage = await Stage.open("images", ["m1", "m2", "w1"]);
  await stage.create(
    "source",
    ["--stop-grace-period", "1s", "--constraint", "node.hostname==w1"],
    stage.image("busybox"),
    ...sleep,
  );
  await stage.running("source", 1);
  const saved = join(folder, "source.tar");
  await stage.ctl(["image", "save", "--output", saved, stage.image("busybox")]);
  archive = join(folder, "app.tar");
  execFileSync("skopeo", [
    "copy",
    "--quiet",
    "--insecure-policy",
    `oci-archive:${saved}`,
    `docker-archive:${archive}:${app}`,
  ]);
});
afterAll(async () => {
  await stage?.close();
  rmSync(folder, { recursive: true });
});

const images = async (...args: string[]) =>
  (await stage.json<readonly ImageRow[]>(["image", "ls", ...args])).filter(
    ({ repository }) => repository === "app.internal/app",
  );

describe("images of nodes", () => {
  it("are loaded onto one node, and its tasks start without a registry", async () => {
    expect(await stage.ctl(["image", "load", "--input", archive, "--node", "m2"])).toBe(
      `Loaded image: ${app} (node m2)\n`,
    );
    expect(await images()).toMatchObject([{ tag: "1", nodes: ["m2"], usedBy: [] }]);
    await stage.create("web", ["--stop-grace-period", "1s", "--constraint", "node.hostname==m2"], app, ...sleep);
    const [task] = await stage.running("web", 1);
    expect((await images("--node", "m2"))[0]!.usedBy).toEqual([`${task!.name}.${task!.id}`]);
  });

  it("run on nodes that were not given them, which get them from the manager that was", async () => {
    await stage.create("every", ["--stop-grace-period", "1s", "--mode", "global"], app, ...sleep);
    await stage.running("every", 3);
    expect((await images())[0]!.nodes).toEqual(["m1", "m2", "w1"]);
    await stage.ctl(["service", "rm", "every"]);
    await until("only the node that was given it has it", async () => {
      await stage.ctl(["image", "prune", "--all", "--force", "--node", "m1", "--node", "w1"]);
      return (await images())[0]!.nodes.length === 1;
    });
  });

  it("are loaded onto all nodes from a compressed stream, by a manager that does not lead", async () => {
    const packed = join(folder, "app.tar.gz");
    writeFileSync(packed, gzipSync(readFileSync(archive)));
    expect(await stage.ctl(["image", "load", "--quiet"], { input: readFileSync(packed), on: stage.host("m2") })).toBe(
      `${app}\n`,
    );
    expect((await images())[0]!.nodes).toEqual(["m1", "m2", "w1"]);
  });

  it("are not removed while a task uses them", async () => {
    const refused = await stage.swarm.ctl(["image", "rm", app]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /^Error: node m2: image app\.internal\/app:1 is in use by task web\.1\.\w+: remove or scale/,
    );
    // The other nodes have removed it.
    expect((await images())[0]!.nodes).toEqual(["m2"]);
    await stage.ctl(["image", "prune", "--all", "--force"]);
    expect((await images())[0]!.nodes).toEqual(["m2"]);
  });

  it("are saved as an archive that others read", async () => {
    const path = join(folder, "saved.tar");
    await stage.ctl(["image", "save", "--output", path, app]);
    for (const transport of ["docker-archive", "oci-archive"]) {
      execFileSync("skopeo", ["inspect", `${transport}:${path}`]);
    }
  });

  it("go when nothing uses them any more", async () => {
    await stage.ctl(["service", "rm", "web"]);
    await until("the image is free", async () => (await stage.swarm.ctl(["image", "rm", app])).code === 0);
    expect(await images()).toEqual([]);
  });
});
