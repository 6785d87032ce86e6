import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { NetworkOracle } from "./network-oracle.ts";
import { Stage } from "./stage.ts";

interface Placed {
  readonly networks: readonly { readonly network: { readonly spec: object }; readonly addresses: readonly string[] }[];
}

/** Networks other than the overlay: tasks on the hosts' own network (macvlan), on the host's, on a bridge, on none. */
describe("kinds of networks", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("kinds", ["m1", "w1", "lan"]);
    const lan = ["--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.192/27", "--gateway", "10.99.0.1"];
    await stage.ctl(["network", "create", "--driver", "macvlan", ...lan, "--opt", "parent=ens9,eth0", "lan"]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  /** A web server on port 80 that answers with its host's name. */
  const serve = ["sh", "-c", "mkdir /w; hostname > /w/index.html; exec busybox httpd -f -p 80 -h /w"];
  const onEach = ["--mode", "global", "--hostname", "{{.Node.Hostname}}", "--stop-signal", "SIGKILL"];
  const get = async (from: string, address: string) =>
    (await stage.host(from).mustExec(["curl", "-s", "-m", "5", `http://${address}/`])).trim();

  /** The tasks' addresses on the macvlan network, by the name of their node. */
  async function addresses(service: string): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const { id, node } of await stage.running(service, 2)) {
      const { networks } = await stage.json<Placed>(["task", "inspect", id]);
      found.set(node, networks.at(-1)!.addresses[0]!.split("/")[0]!);
    }
    return found;
  }

  it("tasks on the hosts' own network have addresses there, that other machines reach, whichever host they are on", async () => {
    await stage.create("wide", ["--network", "lan", "--publish", "8080:80", ...onEach], stage.image("tools"), ...serve);
    const at = await addresses("wide");
    for (const [node, address] of at) {
      expect(address).toMatch(/^10\.99\.0\.(19[2-9]|2[01]\d|22[0-3])$/);
      expect(await get("lan", address)).toBe(node);
    }
    const inTask = (...command: string[]) => stage.ctl(["service", "exec", "wide", ...command]);
    expect(await inTask("ip", "route", "show", "default")).toMatch(/^default via 10\.99\.0\.1 dev eth1/);
    // By name from a task, and in the mesh by every node's address.
    const asked = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s -m 5 http://wide/; done";
    expect(new Set((await inTask("sh", "-c", asked)).trim().split("\n"))).toEqual(new Set(["m1", "w1"]));
    for (const node of ["m1", "w1"]) expect(await get("lan", `${stage.host(node).address}:8080`)).toMatch(/^(m1|w1)$/);
    await new NetworkOracle(stage.swarm).agrees();
    expect(await stage.ctl(["network", "audit"])).not.toMatch(/found|mended/);
  });

  it("a restart of swarmd leaves them as they are", async () => {
    const [task] = (await stage.running("wide", 2)).filter(({ node }) => node === "w1");
    const pid = await stage.pidOf(task!.id);
    const device = () =>
      stage.host("w1").mustExec(["nsenter", `--net=/proc/${pid}/ns/net`, "ip", "-o", "link", "show", "eth1"]);
    const before = await device();
    await stage.swarm.endNode(stage.host("w1"));
    await stage.swarm.startNode(stage.host("w1"));
    await stage.running("wide", 2);
    expect((await stage.swarm.ctl(["network", "audit"])).stdout).not.toMatch(/found|mended/);
    expect(await device()).toBe(before);
    expect(await get("lan", (await addresses("wide")).get("w1")!)).toBe("w1");
  });

  it("a device that a host lacks is said on the task at once", async () => {
    const options = ["--subnet", "10.98.0.0/24", "--opt", "parent=ens9"];
    await stage.ctl(["network", "create", "--driver", "macvlan", ...options, "nowhere"]);
    await stage.create("lost", ["--network", "nowhere"], stage.image("tools"), "sleep", "60");
    const { error } = await stage.task("lost", "is refused", (row) => row.currentState === "REJECTED");
    expect(error).toContain("network nowhere: this host has no device ens9: name one that it has, too");
    await stage.ctl(["service", "rm", "lost"]);
  });

  it("ipvlan is as macvlan where the kernel has it, and else said to be missing", async () => {
    const probe = ["ip", "link", "add", "link", "eth0", "name", "probe", "type", "ipvlan"];
    const there = (await stage.host("lan").exec(probe)).code === 0;
    // eth0 has macvlan devices, of the first test.
    await stage.host("w1").mustExec(["ip", "link", "add", "own0", "up", "type", "veth"]);
    const shared = "can't have ipvlan devices, as it is a port of a bridge or has devices of another driver";
    for (const [parent, refusal] of [
      ["own0", undefined],
      ["eth0", shared],
    ] as const) {
      const flags = ["--subnet", "10.97.0.0/24", "--opt", `parent=${parent}`];
      await stage.ctl(["network", "create", "--driver", "ipvlan", ...flags, "flat"]);
      const on = ["--network", "flat", "--constraint", "node.hostname==w1", "--restart-condition", "none"];
      await stage.create("flat", [...on, "--stop-signal", "SIGKILL"], stage.image("tools"), "sleep", "60");
      const { currentState, error } = await stage.task("flat", "runs or is refused", (row) =>
        ["RUNNING", "REJECTED"].includes(row.currentState),
      );
      const why = there ? refusal : "this host's kernel has no ipvlan";
      expect({ currentState, error }).toEqual(
        why === undefined
          ? { currentState: "RUNNING", error: "" }
          : { currentState: "REJECTED", error: expect.stringContaining(why) },
      );
      await stage.ctl(["service", "rm", "flat"]);
      await until("network flat is free", async () => (await stage.swarm.ctl(["network", "rm", "flat"])).code === 0);
    }
  });

  it("SCTP is published and balanced as TCP is where the kernel has it", async () => {
    const ports = ["-p", "5201:5201", "-p", "5201:5201/sctp", "-p", "published=5202,target=5201,mode=host"];
    const hostMode = ["-p", "published=5202,target=5201,mode=host,protocol=sctp", "--constraint", "node.hostname==w1"];
    await stage.ctl(["network", "create", "inner"]);
    const flags = ["--network", "inner", ...ports, ...hostMode, "--stop-signal", "SIGKILL"];
    await stage.create("sent", flags, stage.image("tools"), "iperf3", "-s", "-p", "5201");
    await stage.create("sender", ["--network", "inner"], stage.image("tools"), "sleep", "infinity");
    // What the first packets hold is told of the mesh's MTU, and sent again as fragments after a second (RFC 9260, 6.3.3).
    const client = (address: string, port: string) => ["iperf3", "-c", address, "-p", port, "--sctp", "-t", "5"];
    const ways = [
      await stage.host("lan").exec(client(stage.host("m1").address, "5201")),
      await stage.host("lan").exec(client(stage.host("w1").address, "5202")),
      await stage.swarm.ctl(["service", "exec", "sender", ...client("sent", "5201")]),
    ];
    const said = ways.map(({ stdout, stderr }) => stdout + stderr);
    // The kernel loads it, if it has it, when it is first asked for.
    const there = (await stage.host("lan").exec(["test", "-e", "/proc/net/sctp"])).code === 0;
    const expected = there ? /\b[1-9][\d.]* [KMG]Bytes .*receiver/ : /Protocol not supported/;
    for (const text of said) expect(text).toMatch(expected);
    await stage.ctl(["service", "rm", "sent", "sender"]);
  });

  it("on the host's network, on a bridge of their own with a way out, and on none", async () => {
    const hostname = ["--hostname", "x", "--constraint", "node.hostname==w1", "--restart-condition", "none"];
    const show = ["sh", "-c", "ip -o -4 addr show | awk '{print $2, $4}'; ip route show default"];
    for (const network of ["host", "bridge", "none"])
      await stage.create(`on-${network}`, ["--network", network, ...hostname], stage.image("tools"), ...show);
    expect(await stage.outputOf("on-host")).toContain(`eth0 ${stage.host("w1").address}/24`);
    expect(await stage.outputOf("on-bridge")).toMatch(
      /^lo 127\.0\.0\.1\/8\neth0 100\.64\.\d+\.\d+\/32\ndefault via 169\.254\.1\.1 dev eth0/,
    );
    expect((await stage.outputOf("on-none")).trim()).toBe("lo 127.0.0.1/8");
  });

  it("leave nothing on the hosts", async () => {
    for (const name of ["wide", "on-host", "on-bridge", "on-none"]) await stage.ctl(["service", "rm", name]);
    for (const name of ["lan", "nowhere", "inner"]) {
      await until(`network ${name} is free`, async () => (await stage.swarm.ctl(["network", "rm", name])).code === 0);
    }
    for (const name of ["m1", "w1"]) {
      const left = await stage.host(name).mustExec(["sh", "-c", "ip -o link show | grep -c macvlan || true"]);
      expect(left.trim()).toBe("0");
    }
  });
});
