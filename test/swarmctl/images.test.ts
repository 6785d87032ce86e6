import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Service, Task, timestampOfMs } from "@starling/api";
import { SwarmError } from "@starling/base";
import { byName } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestCluster } from "./test-cluster.ts";

const digest = `sha256:${"a".repeat(64)}`;
let cluster: TestCluster;
let isAway = false;
const images = {
  async resolve() {
    if (isAway) throw new SwarmError("Unavailable", "registry away");
    return { digest, platforms: [{ os: "linux", architecture: "amd64" }] };
  },
};

beforeEach(async () => {
  isAway = false;
  cluster = await TestCluster.start({ images });
});
afterEach(() => cluster.stop());

const web = (): Service => cluster.store.view((tx) => tx.services.find(byName("web"))[0]!);
const imageOf = (service: Service) => service.spec.task.container?.image;
const create = (...words: string[]) => cluster.run("service", "create", "--detach", "--name", "web", ...words);
const update = (...words: string[]) => cluster.run("service", "update", "--detach", ...words, "web");

describe("a service's image", () => {
  it("is shown by its tag in tables and by its digest in whole", async () => {
    expect((await create("web:1")).err).toBe("");
    expect((await cluster.run("service", "ls")).out).toMatch(/ web:1\s/);
    const [row] = JSON.parse((await cluster.run("service", "ls", "--format", "json")).out) as { image: string }[];
    expect(row?.image).toBe(`web:1@${digest}`);
    const { out } = await cluster.run("service", "inspect", "--pretty", "web");
    expect(out).toMatch(new RegExp(`Image: +web:1@${digest}`));
  });

  it("stays as given with --no-resolve-image", async () => {
    expect((await create("--no-resolve-image", "web:1")).err).toBe("");
    expect(imageOf(web())).toBe("web:1");
    await update("--no-resolve-image", "--image", "web:2");
    expect(imageOf(web())).toBe("web:2");
    await update("--force");
    expect(imageOf(web())).toBe(`web:2@${digest}`);
  });

  it("that nobody could resolve is warned of, when it was asked for", async () => {
    isAway = true;
    const warning = /^Warning: image web:1 could not be accessed on a registry to record its digest\..*\n$/;
    const created = await create("web:1");
    expect(created.code).toBe(0);
    expect(created.err).toMatch(warning);
    expect((await update("--env-add", "A=1")).err).toBe("");
    expect((await update("--force")).err).toMatch(warning);
  });
});

describe("credentials", () => {
  let folder: string;
  const { DOCKER_CONFIG } = process.env;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "starling-docker-config-"));
    process.env["DOCKER_CONFIG"] = folder;
    const auth = Buffer.from("alice:hidden").toString("base64");
    writeFileSync(join(folder, "config.json"), JSON.stringify({ auths: { "reg:5000": { auth } } }));
  });
  afterEach(() => {
    if (DOCKER_CONFIG === undefined) delete process.env["DOCKER_CONFIG"];
    else process.env["DOCKER_CONFIG"] = DOCKER_CONFIG;
    rmSync(folder, { recursive: true });
  });

  it("in a spec are never shown, in no format, and survive an update", async () => {
    await create("--with-registry-auth", "reg:5000/web:1");
    await update("--env-add", "A=1");
    const { registryAuth } = web().spec.task.container!.pullOptions!;
    expect(Buffer.from(registryAuth, "base64url").toString()).toContain("hidden");
    const task = Task.create({ id: "task-1", serviceId: web().id, spec: web().spec.task });
    const createdAt = timestampOfMs(0);
    await cluster.store.update((tx) => tx.tasks.create({ ...task, status: { ...task.status, timestamp: createdAt } }));
    for (const [noun, name] of [
      ["service", "web"],
      ["task", "task-1"],
    ] as const) {
      for (const format of [[], ["--pretty"], ["--format", "json"]]) {
        const { code, out } = await cluster.run(noun, "inspect", ...format, name);
        expect([code, out.includes(registryAuth), out.includes("registryAuth")]).toEqual([0, false, false]);
      }
    }
  });
});
