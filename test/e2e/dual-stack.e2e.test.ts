import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { NetworkOracle } from "./network-oracle.ts";
import { Stage } from "./stage.ts";

interface Network {
  readonly ipam: { readonly configs: readonly { readonly subnet: string }[] };
}

/** IPv6 beside IPv4 in tasks, VXLAN over IPv6 between the hosts, at a port and out of pools that the swarm was begun with. */
describe("networks of both families over an IPv6 underlay", () => {
  let stage: Stage;
  let oracle: NetworkOracle;

  beforeAll(async () => {
    stage = await Stage.open("dual", ["m1", "w1"], "sources", async (swarm) => {
      const [m1, w1] = [swarm.cluster.host("m1"), swarm.cluster.host("w1")];
      const underlay = ["fd99::1", "fd99::2"] as const;
      await m1.mustExec(["ip", "-6", "addr", "add", `${underlay[0]}/64`, "dev", "eth0", "nodad"]);
      await w1.mustExec(["ip", "-6", "addr", "add", `${underlay[1]}/64`, "dev", "eth0", "nodad"]);
      const pools = ["--default-addr-pool", "10.64.0.0/12", "--default-addr-pool", "fd64::/48"];
      const begin = ["--data-path-port", "4790", ...pools, "--default-addr-pool-mask-length", "26"];
      await swarm.startNode(m1, undefined, undefined, ["--data-path-addr", underlay[0], ...begin]);
      await swarm.ready([m1]);
      await swarm.startNode(w1, m1, undefined, ["--data-path-addr", underlay[1]]);
      await swarm.ready([m1, w1]);
    });
    oracle = new NetworkOracle(stage.swarm);
    await stage.ctl(["network", "create", "--ipv6", "dual"]);
    const serve = "mkdir /w; hostname > /w/index.html; exec busybox httpd -f -p 80 -h /w";
    const flags = [
      ...["--network", "dual", "--replicas", "2", "-p", "8080:80"],
      "--stop-signal",
      "SIGKILL",
      "--hostname",
      "{{.Node.Hostname}}",
    ];
    await stage.create("web", flags, stage.image("tools"), "sh", "-c", serve);
    await stage.running("web", 2);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const inTask = (...command: string[]) => stage.ctl(["service", "exec", "web", ...command]);

  it("take their subnets out of the swarm's pools", async () => {
    const { ipam } = await stage.json<Network>(["network", "inspect", "dual"]);
    expect(ipam.configs.map(({ subnet }) => subnet)).toEqual(["10.64.0.0/26", "fd64::/64"]);
  });

  it("resolve to addresses of both families, and answer on each host by them", async () => {
    const six = (await inTask("getent", "ahostsv6", "web")).split(/\s/)[0]!;
    expect(six).toMatch(/^fd64::/);
    for (const url of [`http://[${six}]/`, "http://web/"]) {
      const answers = await inTask("sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -s -m 5 ${url}; done`);
      expect(new Set(answers.trim().split("\n")), url).toEqual(new Set(["m1", "w1"]));
    }
  });

  it("publish ports on every host over IPv6, from outside and from the host itself", async () => {
    const client = stage.host("reg");
    await client.mustExec(["ip", "-6", "addr", "add", "fd99::9/64", "dev", "eth0", "nodad"]);
    const answers = async (name: string, address: string) => {
      const ask = `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -sg -m 5 'http://[${address}]:8080/' || exit; done`;
      return new Set((await stage.host(name).mustExec(["sh", "-c", ask])).trim().split("\n"));
    };
    const both = new Set(["m1", "w1"]);
    for (const address of ["fd99::1", "fd99::2"]) expect(await answers("reg", address), address).toEqual(both);
    for (const host of both) expect(await answers(host, "::1"), host).toEqual(both);
    for (const host of both) expect(await answers(host, "fd99::1"), host).toEqual(both);
  });

  it("are in every kernel as the store says, and no packet goes by another port", async () => {
    await oracle.agrees();
    for (const name of ["m1", "w1"]) {
      const devices = await stage.host(name).mustExec(["ip", "-d", "link", "show", "type", "vxlan"]);
      expect(devices.match(/dstport \d+/g)).toEqual(["dstport 4790", "dstport 4790"]);
      expect(devices.match(/local \S+/g)).toEqual(Array(2).fill(`local fd99::${name === "m1" ? 1 : 2}`));
    }
    expect(await stage.ctl(["network", "audit"])).not.toMatch(/found|mended/);
    expect(await stage.ctl(["node", "check"])).not.toMatch(/path|clock/);
  });

  it("follow their tasks", async () => {
    await stage.ctl(["service", "scale", "web=4"]);
    await stage.ctl(["service", "scale", "web=1"]);
    await oracle.agrees();
  });

  it("names asked for while swarmd is away are answered when it is back, over UDP and TCP", {
    timeout: 60_000,
  }, async () => {
    const host = stage.host("w1");
    await stage.ctl(["service", "scale", "web=2"]);
    const task = (await stage.running("web", 2)).find(({ node }) => node === "w1")!;
    const pid = await stage.pidOf(task.id);
    await stage.swarm.endNode(host);
    const asking = ["UDP", "TCP"].map((transport) =>
      host.exec(["nsenter", `--net=/proc/${pid}/ns/net`, process.execPath, "-e", askScript, transport]),
    );
    // Both wait in sockets that nobody reads: a datagram in one's buffer, a connection in the other's backlog.
    await until("both queries wait", async () => {
      const waiting = await host.mustExec([
        "nsenter",
        `--net=/proc/${pid}/ns/net`,
        "ss",
        "-H",
        "-lnut",
        "src",
        "127.0.0.11",
      ]);
      return [...waiting.matchAll(/^(?:tcp|udp)\s+\S+\s+([1-9]\d*)\s/gm)].length === 2;
    });
    await stage.swarm.startNode(host, undefined, undefined, ["--data-path-addr", "fd99::2"]);
    const [udp, tcp] = await Promise.all(asking);
    const virtualIp = /^\d+\.\d+\.\d+\.\d+$/;
    expect([udp, tcp]).toEqual(
      [udp, tcp].map(() => ({ code: 0, stderr: "", stdout: expect.stringMatching(virtualIp) })),
    );
  });
});

/** Asks the task's name server once for `web` by UDP or TCP, waits as long as it takes, and prints the address. */
const askScript = `
  const name = Buffer.from([3, 119, 101, 98, 0, 0, 1, 0, 1]);
  const query = Buffer.concat([Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), name]);
  const show = (answer) => { process.stdout.write([...answer.subarray(-4)].join(".")); process.exit(); };
  if (process.argv[1] === "UDP") {
    const socket = require("node:dgram").createSocket("udp4").on("message", show);
    socket.on("error", (error) => { console.error(error.message); process.exit(1); });
    socket.connect(53, "127.0.0.11", () => socket.send(query));
  } else {
    const socket = require("node:net").connect(53, "127.0.0.11").on("data", show);
    socket.on("error", (error) => { console.error(error.message); process.exit(1); });
    socket.write(Buffer.concat([Buffer.from([0, query.length]), query]));
  }`;
