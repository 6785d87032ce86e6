import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImageStore } from "@starling/node-agent";
import { afterAll, beforeAll, expect, it } from "vitest";
import { packSample } from "./samples.ts";
import { ImageServer } from "./serve.ts";

let folder: string;
let server: ImageServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-kill-"));
  server = await ImageServer.start();
  const files = (name: string) => `mkdir ${name}; for i in $(seq 100); do head -c 4000 /dev/urandom > ${name}/$i; done`;
  // The last one has to be unpacked over those below it.
  const layers = [
    { files: files("a") },
    { files: files("b") },
    { files: `${files("c")}; mkdir a; echo over > a/over`, tar: "--format=pax c a/over" },
  ];
  server.add(
    "box",
    layers.map((layer) => packSample(layer, "gzip")),
  );
}, 120_000);
afterAll(async () => {
  await server?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** Pulls in a process of its own, which is killed so many milliseconds after it began; false if it had ended by then. */
async function pullKilledAfter(store: string, delayMs: number): Promise<boolean> {
  const fixture = join(import.meta.dirname, "pull.fixture.ts");
  const child = spawn(process.execPath, [fixture, store, `${server.address}/box:1`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<string | null>((resolve) => child.once("close", (_code, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  if (delayMs >= 0) setTimeout(() => child.kill("SIGKILL"), delayMs);
  return (await ended) === "SIGKILL";
}

const tree = (path: string) =>
  execFileSync(process.execPath, [join(import.meta.dirname, "tree.ts"), path], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });

it("nothing half-done is ever used, whenever the process that pulls is killed", async () => {
  const clean = join(folder, "clean");
  expect(await pullKilledAfter(clean, -1)).toBe(false);
  const expected = new Map(readdirSync(join(clean, "layers")).map((name) => [name, tree(join(clean, "layers", name))]));
  expect(expected.size).toBe(3);
  const store = join(folder, "store");
  // Any moment must do: what is checked does not depend on how far it came.
  let killed = 0;
  for (let delayMs = 0; killed < 5; delayMs += 60) {
    if (!(await pullKilledAfter(store, delayMs))) {
      rmSync(store, { recursive: true });
      break;
    }
    killed++;
    for (const name of readdirSync(join(store, "layers"))) {
      expect(tree(join(store, "layers", name)) === expected.get(name), `${name} after ${delayMs} ms`).toBe(true);
    }
    const opened = new ImageStore(store);
    await opened.open();
    for (const digest of await opened.list()) expect((await opened.image(digest))?.layers).toHaveLength(3);
    expect(readdirSync(join(store, "tmp"))).toEqual([]);
    // Every other time from nothing.
    if (killed % 2 === 0) rmSync(store, { recursive: true });
  }
  await pullKilledAfter(store, -1);
  for (const [name, lines] of expected) expect(tree(join(store, "layers", name)) === lines, name).toBe(true);
  expect(existsSync(join(store, "images"))).toBe(true);
});
