import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { NetworkOracle } from "./network-oracle.ts";
import { Stage } from "./stage.ts";
import { virtualIpOf } from "./virtual-ip.ts";

/** Part of every answer of the servers. */
const marker = "version=1";

/** What tasks of an encrypted network say to one another, and what comes to them by the mesh, is not to be read between nodes. */
describe("an encrypted network", () => {
  let stage: Stage;
  let oracle: NetworkOracle;
  beforeAll(async () => {
    stage = await Stage.open("encrypted", ["m1", "w1", "w2"]);
    oracle = new NetworkOracle(stage.swarm);
    await stage.ctl(["network", "create", "open"]);
    await stage.ctl(["network", "create", "--opt", "encrypted", "secret"]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  /** All that passes the underlay of `host` while `work` is done. */
  async function captured<T>(host: string, work: () => Promise<T>): Promise<{ result: T; bytes: Buffer }> {
    const file = "/run/captured.pcap";
    const dump = ["tcpdump", "-i", "eth0", "--immediate-mode", "-p", "-U", "-s0", "-Z", "root", "-w", file];
    const { child, exited } = await stage.host(host).spawn(dump);
    await new Promise((resolve) => child.stderr!.once("data", resolve));
    const result = await work();
    const read = async () => Buffer.from(await stage.host(host).mustExec(["base64", "-w0", file]), "base64");
    // tcpdump has read all that came before this last packet when it has read that.
    const last = "LAST-PACKET";
    await stage
      .host("reg")
      .mustExec(["ping", "-c1", "-p", Buffer.from(last).toString("hex"), stage.host(host).address]);
    await until("the last packet is captured", async () => (await read()).includes(last), { periodMs: 20 });
    child.kill("SIGTERM");
    const bytes = await read();
    await exited;
    return { result, bytes };
  }

  /** What `hosts` know of tunnels, of the mesh's ways and of connections to published ports: why there is no answer. */
  async function seenBy(hosts: readonly string[]): Promise<string> {
    const look = [
      "wg show all latest-handshakes; wg show all transfer; wg show all endpoints; wg show all allowed-ips",
      "ip -br addr show; bridge fdb show dev starling-safe; ip route show table all | grep starling-safe",
      "conntrack -L -p tcp 2>/dev/null | grep dport=80",
    ].join("; ");
    const texts = hosts.map(async (name) => `${name}:\n${(await stage.host(name).exec(look)).stdout}`);
    return (await Promise.all(texts)).join("\n");
  }

  const servers = (network: string) => ["--network", network, "--constraint", "node.hostname==w1"];
  async function ask(network: string): Promise<string> {
    const [client] = await stage.running(`${network}-client`, 1);
    const enter = ["nsenter", `--net=/proc/${await stage.pidOf(client!.id)}/ns/net`];
    const url = `http://${await virtualIpOf(stage, network, network)}/`;
    return await stage.host(client!.node).mustExec([...enter, "curl", "-sS", "--max-time", "10", url]);
  }

  async function start(network: string, port: string): Promise<void> {
    await stage.create(network, [...servers(network), "-p", `${port}:80`], stage.image("web1"));
    const where = ["--network", network, "--constraint", "node.hostname==m1"];
    await stage.create(`${network}-client`, where, stage.image("tools"));
    for (const service of [network, `${network}-client`]) await stage.running(service, 1);
  }

  it("shows nothing of its tasks on the wire from the first packet on, where an open one shows all", async () => {
    const open = await captured("w1", async () => {
      await start("open", "8081");
      return await ask("open");
    });
    expect(open.result).toContain(marker);
    expect(open.bytes.includes(marker)).toBe(true);
    const secret = await captured("w1", async () => {
      await start("secret", "8080");
      return await ask("secret");
    });
    expect(secret.result).toContain(marker);
    expect(secret.bytes.includes(marker)).toBe(false);
  });

  it("has what its published ports bring encrypted between nodes, and shows servers the client's address", async () => {
    const get = async (port: number) => {
      const url = `http://${stage.host("w2").address}:${port}/`;
      const { code, stdout, stderr } = await stage.host("reg").exec(["curl", "-sS", "--max-time", "10", url]);
      if (code !== 0) throw new Error(`${url}: ${stderr}\n${await seenBy(["w1", "w2"])}`);
      return stdout;
    };
    const client = `client=${stage.host("reg").address}`;
    const open = await captured("w1", () => get(8081));
    expect({ answer: open.result, isClear: open.bytes.includes(marker) }).toMatchObject({
      answer: expect.stringContaining(client),
      isClear: true,
    });
    const secret = await captured("w1", () => get(8080));
    expect({ answer: secret.result, isClear: secret.bytes.includes(marker) }).toMatchObject({
      answer: expect.stringContaining(client),
      isClear: false,
    });
    await stage.host("w2").mustExec(["ip", "-6", "addr", "add", "fd99::2/64", "dev", "eth0", "nodad"]);
    await stage.host("reg").mustExec(["ip", "-6", "addr", "add", "fd99::9/64", "dev", "eth0", "nodad"]);
    const six = await captured("w1", () =>
      stage.host("reg").mustExec(["curl", "-sSg", "--max-time", "10", "http://[fd99::2]:8080/"]),
    );
    expect({ answer: six.result, isClear: six.bytes.includes(marker) }).toMatchObject({
      answer: expect.stringContaining("client=fd99::9"),
      isClear: false,
    });
  });

  it("has the peers and routes that the store asks for, on every host, through a restart of swarmd", async () => {
    await oracle.agrees();
    const keys = () => stage.host("w1").mustExec(["bash", "-c", "wg show all public-key; pgrep wireguard-go"]);
    const before = await keys();
    await stage.swarm.endNode(stage.host("w1"));
    expect(await ask("secret")).toContain(marker);
    await stage.swarm.startNode(stage.host("w1"));
    await stage.swarm.ready([stage.host("w1")]);
    await oracle.agrees();
    expect(await keys()).toBe(before);
    expect(await stage.ctl(["network", "audit"])).not.toMatch(/found|mended/);
  });

  it("has no task where it can't be encrypted, and the task says why", async () => {
    // Nothing there that could be run.
    await stage
      .host("w2")
      .mustExec([
        "bash",
        "-c",
        "mount --bind /dev/null $(command -v wireguard-go); ip link del $(ip -o link | grep -o 'sw0-[^:]*')",
      ]);
    await stage.create("unsafe", ["--network", "secret", "--constraint", "node.hostname==w2"], stage.image("tools"));
    const { error } = await stage.task("unsafe", "is refused", (row) => row.currentState === "REJECTED");
    expect(error).toMatch(
      /network secret: encryption can't be set up: wireguard-go is not installed: install Debian's package/,
    );
    await stage.ctl(["service", "rm", "unsafe"]);
  });

  it("forgets the key of a node that is removed, and leaves nothing when its last task is gone", async () => {
    const peers = () => stage.host("w1").mustExec(["bash", "-c", "wg show all peers | wc -l"]);
    expect((await peers()).trim()).toBe("2");
    await stage.ctl(["node", "rm", "--force", "w2"]);
    await until("w1 has one peer", async () => (await peers()).trim() === "1", { periodMs: 50 });
    await stage.ctl(["service", "rm", "secret", "secret-client"]);
    const left = "ip -o link | grep -E 'sw[01]-|starling-safe'; pgrep wireguard-go; ls /run/wireguard 2>/dev/null";
    for (const name of ["m1", "w1"]) {
      const look = () => stage.host(name).exec(["bash", "-c", left]);
      await until(`${name} has no tunnel`, async () => (await look()).stdout === "", { periodMs: 50 });
    }
  });
});
