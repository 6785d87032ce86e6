import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

let stage: Stage;

beforeAll(async () => {
  stage = await Stage.open("full-disk", ["m1", "d1"]);
  const small = stage.host("d1");
  await small.mustExec("mkdir -p /var/lib/swarmd && mount -t tmpfs -o size=3m tmpfs /var/lib/swarmd");
  await stage.swarm.startNode(small, stage.host("m1"));
  await until("d1 is ready", async () =>
    (await stage.swarm.nodes()).some(({ hostname, status }) => hostname === "d1" && status === "READY"),
  );
});
afterAll(() => stage?.close());

describe("a node whose disk is full", () => {
  it("says so on the task, which starts when there is room", async () => {
    await stage.create("web", ["--constraint", "node.hostname==d1"], stage.image("busybox"), "sleep", "infinity");
    const { error } = await stage.task("web", "finds no room", (row) => row.error.includes("no space left"));
    expect(error).toMatch(
      /^image .*busybox:1.*: no space left in \/var\/lib\/swarmd\/images \(.* free of 3\.0 MiB\): free space on that disk, or remove images that nothing uses: swarmctl image prune --all$/,
    );
    await stage.host("d1").mustExec("mount -o remount,size=1g /var/lib/swarmd");
    await stage.running("web", 1);
  });
});
