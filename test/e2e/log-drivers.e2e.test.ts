import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** What a service's output becomes where the host collects it: systemd's journal itself, on a host of its own. */
describe("a service's log driver", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("log-drivers", ["m1"]);
    const host = stage.host("m1");
    const id = "0123456789abcdef0123456789abcdef";
    writeFileSync(join(host.stateFolder, "machine-id"), `${id}\n`);
    await host.mustExec(
      `touch /etc/machine-id && mount --bind /var/lib/swarmd/machine-id /etc/machine-id && mkdir -p /run/systemd/journal /run/log/journal/${id}`,
    );
    await host.daemon("journald", ["/lib/systemd/systemd-journald"]);
    await until(
      "the journal takes entries",
      async () => (await host.exec("test -S /run/systemd/journal/socket")).code === 0,
    );
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const flags = ["--restart-condition", "none", "--log-driver"];

  it("journald: each line is an entry with its fields, beside what service logs shows", async () => {
    const own = ["--log-opt", "tag=mine", "--log-opt", "labels=tier", "--container-label", "tier=front"];
    await stage.create(
      "told",
      [...flags, "journald", ...own],
      stage.image("tools"),
      "sh",
      "-c",
      "echo out; echo err >&2",
    );
    await stage.task("told", "has ended", (row) => row.currentState === "COMPLETE");
    const { stdout, stderr } = await stage.swarm.ctl(["service", "logs", "--raw", "told"]);
    expect([stdout, stderr]).toEqual(["out\n", "err\n"]);
    const entries = await until("the journal has both", async () => {
      const { stdout: text } = await stage
        .host("m1")
        .exec("journalctl -D /run/log/journal --no-pager -o json CONTAINER_TAG=mine");
      const lines = text.trim().split("\n");
      return lines.length === 2 ? lines.map((line) => JSON.parse(line) as Record<string, string>) : undefined;
    });
    const [err, out] = entries.sort((a, b) => (a["MESSAGE"]! < b["MESSAGE"]! ? -1 : 1));
    const [task] = await stage.tasks("told");
    const common = {
      SYSLOG_IDENTIFIER: "mine",
      CONTAINER_ID_FULL: task!.id,
      CONTAINER_NAME: `told.1.${task!.id}`,
      TIER: "front",
    };
    expect(out).toMatchObject({ MESSAGE: "out", PRIORITY: "6", ...common });
    expect(err).toMatchObject({ MESSAGE: "err", PRIORITY: "3", ...common });
  });

  it("syslog: to a socket of the host, here the journal's", async () => {
    const address = "syslog-address=unixgram:///run/systemd/journal/dev-log";
    const own = ["--log-opt", address, "--log-opt", "tag=by-syslog"];
    await stage.create("said", [...flags, "syslog", ...own], stage.image("tools"), "echo", "hello");
    await until("the journal has the line", async () => {
      const journal = "journalctl -D /run/log/journal --no-pager -o cat SYSLOG_IDENTIFIER=by-syslog";
      return (await stage.host("m1").exec(journal)).stdout.trim() === "hello";
    });
  });
});
