import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";
import { virtualIpOf } from "./virtual-ip.ts";

/** Part of every answer of the servers. */
const marker = "version=1";

/** A row of `node check --format json` about a path. */
interface PathRow {
  readonly result: string;
  readonly node: string;
  readonly peer: string;
  readonly path: string;
  readonly relay: string;
}

/** As a NAT does to what is behind it: other ports for each destination, and nothing that nobody asked for. */
const nat = `nft 'table ip nat {
  chain out { type nat hook postrouting priority srcnat; udp sport 51840-51842 masquerade fully-random
  }
  chain in { type filter hook input priority -10; udp dport 51840-51842 ct state new drop
  }
}'`;

describe("an encrypted network of workers that don't reach each other", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.open("relay", ["m1", "w1", "w2"]);
    for (const name of ["w1", "w2"]) await stage.host(name).mustExec(["bash", "-c", nat]);
    await stage.ctl(["network", "create", "--opt", "encrypted", "secret"]);
    const on = (host: string) => ["--network", "secret", "--constraint", `node.hostname==${host}`];
    await stage.create("web", on("w1"), stage.image("web1"));
    await stage.create("client", on("w2"), stage.image("tools"));
    for (const service of ["web", "client"]) await stage.running(service, 1);
    // A relay is looked for when a node has not answered for some seconds.
    await until("there is a relay", async () => (await paths()).paths.some((path) => path.includes("relay")));
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function ask(): Promise<string> {
    const [client] = await stage.running("client", 1);
    const enter = ["nsenter", `--net=/proc/${await stage.pidOf(client!.id)}/ns/net`];
    const url = `http://${await virtualIpOf(stage, "web", "secret")}/`;
    return await stage.host("w2").mustExec([...enter, "curl", "-sS", "--max-time", "5", url]);
  }

  /** Paths between the workers as `node check` tells them, and whether it found anything wrong. */
  async function paths() {
    const { code, stdout } = await stage.swarm.ctl(["node", "check", "--format", "json"]);
    const rows = (JSON.parse(stdout) as PathRow[]).filter(({ result }) => result === "path");
    return { code, paths: rows.map(({ node, peer, path, relay }) => `${node} ${peer} ${path} ${relay}`.trim()).sort() };
  }
  const becomes = async (expected: readonly string[]) => {
    let last = "";
    const is = async () => {
      last = JSON.stringify(await paths());
      return last === JSON.stringify({ code: 0, paths: expected });
    };
    await until(`paths are ${expected.join(", ")}`, is, { periodMs: 300 }).catch((error) => {
      throw new Error(`the last: ${last}`, { cause: error });
    });
  };

  it("goes through the manager, which `node check` names", async () => {
    await becomes(["w1 w2 relay m1", "w2 w1 relay m1"]);
    expect(await ask()).toContain(marker);
    expect(await stage.ctl(["node", "check"])).toMatch(/^w1 +w2 +through m1, which cannot read it$/m);
    expect(await stage.ctl(["network", "audit"])).not.toMatch(/found|mended/);
  });

  it("goes directly again when one of them can be reached", async () => {
    await stage.host("w1").mustExec(["bash", "-c", "nft flush chain ip nat in; nft flush chain ip nat out"]);
    await becomes(["w1 w2 direct", "w2 w1 direct"]);
    expect(await ask()).toContain(marker);
    expect(await stage.host("m1").mustExec(["bash", "-c", "ip -o link | grep -c swr- || true"])).toBe("0\n");
  });
});
