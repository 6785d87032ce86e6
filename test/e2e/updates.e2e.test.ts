import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startLoad } from "../cluster/index.ts";
import { Stage } from "./stage.ts";
import { virtualIpOf } from "./virtual-ip.ts";

const replicas = 3;

/** A rolling update cuts no connection and refuses none, whichever way clients come. The full size is bench updates'. */
describe("an update under load", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.open("updates", ["m1", "w1"]);
    await stage.ctl(["network", "create", "front"]);
    const listens = "grep -q ':0050 .* 0A ' /proc/net/tcp";
    const health = ["--health-cmd", listens, "--health-interval", "300ms", "--update-monitor", "100ms"];
    const flags = [
      "--network",
      "front",
      "-p",
      "8080:80",
      "--replicas",
      String(replicas),
      "--drain-time",
      "20s",
      ...health,
    ];
    await stage.create("web", flags, stage.image("web1"));
    await stage.create("client", ["--network", "front"], stage.image("tools"));
    await stage.running("web", replicas);
    await stage.running("client", 1);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function replaceAll(image: string): Promise<void> {
    const before = new Set((await stage.running("web", replicas)).map(({ id }) => id));
    await stage.ctl(["service", "update", "--image", image, "web"]);
    const after = await stage.running("web", replicas);
    expect(after.filter(({ id }) => before.has(id))).toEqual([]);
  }

  it("loses no request of clients outside, who come by the mesh", async () => {
    const load = await startLoad(stage.host("reg"), "http://m1:8080/");
    await replaceAll(stage.image("web2"));
    const result = await load.finish();
    expect(result).toMatchObject({ errors: "" });
    expect(result.requests).toBeGreaterThan(100);
  });

  it("loses no request of tasks, who come by the virtual IP", async () => {
    const [client] = await stage.running("client", 1);
    const url = `http://${await virtualIpOf(stage, "web", "front")}/`;
    const load = await startLoad(stage.host(client!.node), url, { inTask: await stage.pidOf(client!.id) });
    await replaceAll(stage.image("web1"));
    const result = await load.finish();
    expect(result).toMatchObject({ errors: "" });
    expect(result.requests).toBeGreaterThan(100);
  });

  it("gives connections the service's drain time before the stop signal, and no more", async () => {
    await stage.ctl(["service", "update", "--drain-time", "3s", "web"]);
    await stage.running("web", replicas);
    const [task] = await stage.running("web", replicas);
    const idle = "exec 3<>/dev/tcp/$0/80; echo open; read -r -u 3 line; date +%s%N";
    const address = (await stage.json<{ networks: { addresses: string[] }[] }>(["task", "inspect", task!.id])).networks
      .flatMap(({ addresses }) => addresses)
      .find((cidr) => cidr.startsWith("10.255."))!
      .split("/")[0]!;
    const held = await stage.host(task!.node).spawn(["bash", "-c", idle, address]);
    const lines: string[] = [];
    await new Promise<void>((resolve) => {
      held.child.stdout!.on("data", (chunk: Buffer) => {
        lines.push(chunk.toString().trim());
        resolve();
      });
    });
    const from = Date.now();
    await stage.ctl(["service", "update", "--detach", "--force", "web"]);
    await held.exited;
    // nginx closes idle connections when it gets its stop signal; its keep-alive time of 5 s does not begin before a request.
    expect(Number(lines.at(-1)) / 1e6 - from).toBeGreaterThan(2_900);
    await stage.running("web", replicas);
  });

  it("ends at its deadline with the reason, and with an exit code for who waits", async () => {
    const nowhere = ["--constraint-add", "node.labels.rack==none", "--update-deadline", "1s"];
    const { code, stderr } = await stage.swarm.ctl(["service", "update", "--quiet", ...nowhere, "client"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /service update paused: update paused since its deadline of 1s has passed with 0 of 1 tasks updated: task \w+: no suitable node/,
    );
  });
});
