import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** A node that remaps ids: services run there as on any other, as users that the host does not know. */
describe("a node with --userns-remap", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("userns", ["m1"]);
    const host = stage.host("m1");
    writeFileSync(join(host.stateFolder, "ids"), "dockremap:300000:65536\n");
    for (const file of ["subuid", "subgid"]) {
      await host.mustExec(`touch /etc/${file}; mount --bind /var/lib/swarmd/ids /etc/${file}`);
    }
    await stage.swarm.endNode(host, "TERM");
    await stage.swarm.startNode(host, undefined, undefined, ["--userns-remap", "default"]);
    await stage.swarm.ready([host]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  it("runs a published, health-checked service as users of its own range, whom exec joins", async () => {
    const flags = [
      "--publish",
      "8080:80",
      "--user",
      "nobody",
      "--health-cmd",
      "test $(id -u) -gt 0",
      "--health-interval",
      "200ms",
    ];
    const serve = "mkdir -p /tmp/w && echo hello > /tmp/w/index.html && exec httpd -f -p 80 -h /tmp/w";
    await stage.create("web", flags, stage.image("tools"), "sh", "-c", serve);
    const [task] = await stage.running("web", 1);
    const { stdout: uid } = await stage.host("m1").exec(`stat -c %u /proc/${await stage.pidOf(task!.id)}`);
    expect(Number(uid)).toBeGreaterThan(300_000);
    expect(Number(uid)).toBeLessThan(365_536);
    await until("its port answers", async () => {
      const { stdout } = await stage.host("m1").exec("curl -s -m 2 http://10.99.0.3:8080/ http://127.0.0.1:8080/");
      return stdout.includes("hello");
    });
    expect(
      await stage.ctl(["service", "exec", "--user", "root", "web", "sh", "-c", "id -u; cat /proc/self/uid_map"]),
    ).toMatch(/^0\s+0\s+300000\s+65536\s*$/);
  });

  it("gives the host's ids to a service that asks for them, and says what it cannot give otherwise", async () => {
    await stage.create("plain", ["--userns", "host"], stage.image("tools"), "sleep", "1000");
    const [task] = await stage.running("plain", 1);
    const { stdout } = await stage.host("m1").exec(`stat -c %u /proc/${await stage.pidOf(task!.id)}`);
    expect(stdout).toBe("0\n");
    await stage.create("mighty", ["--privileged", "--restart-condition", "none"], stage.image("tools"), "true");
    const refused = await stage.task("mighty", "is refused", (row) => row.error !== "");
    expect(refused.error).toContain("privileged: this node's containers have user namespaces");
    await stage.ctl(["service", "update", "--detach", "--userns", "host", "mighty"]);
    await stage.task("mighty", "ran", (row) => row.currentState === "COMPLETE");
  });
});
