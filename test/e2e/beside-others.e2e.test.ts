import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { DockerEngine } from "./docker-engine.ts";
import { Stage } from "./stage.ts";

/** A published service on an overlay network, on hosts where operators and other programs have rules of their own. */
describe("beside others' rules", () => {
  let stage: Stage;
  let w1: Host;

  beforeAll(async () => {
    stage = await Stage.open("beside", ["m1", "w1", "lan"]);
    w1 = stage.host("w1");
    await stage.ctl(["network", "create", "front"]);
    const flags = ["--mode", "global", "--network", "front", "--publish", "8080:80", "--stop-signal", "SIGKILL"];
    const serve = "mkdir /w; echo here > /w/index.html; exec busybox httpd -f -p 80 -h /w";
    await stage.create("web", flags, stage.image("tools"), "sh", "-c", serve);
    await stage.running("web", 2);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const get = (address: string) => ["curl", "-s", "-m", "2", "-o", "/dev/null", `http://${address}/`];
  const answers = async (asked: readonly string[]) => (await stage.host("lan").exec(asked)).code === 0;
  /** Whether every node answers at the published port, several times, so that both tasks are asked. */
  async function published(): Promise<boolean> {
    for (const node of [stage.host("m1"), w1, w1, w1, w1])
      if (!(await answers(get(`${node.address}:8080`)))) return false;
    return true;
  }
  /** Whether the tasks reach each other on their network, from both. */
  async function overlay(): Promise<boolean> {
    const ask =
      "for a in $(getent ahostsv4 tasks.web | awk '{print $1}' | sort -u); do curl -s -m 2 http://$a/ || exit 1; done";
    for (const { id } of await stage.running("web", 2)) {
      const pid = await stage.pidOf(id);
      const on = (await stage.tasks("web")).find((row) => row.id === id)!.node;
      const enter = ["nsenter", "-t", String(pid), "--all", "sh", "-c", ask];
      const { code, stdout } = await stage.host(on).exec(enter);
      if (code !== 0 || stdout !== "here\nhere\n") return false;
    }
    return true;
  }
  const works = () =>
    until("published port and overlay network work", async () => (await published()) && (await overlay()), {
      timeoutMs: 15_000,
    });
  const nft = (host: Host, ...script: string[]) =>
    host.mustExec(["nft", "-f", "-"], { input: `${script.join("\n")}\n` });
  const restart = async () => {
    await stage.swarm.endNode(w1);
    await stage.swarm.startNode(w1);
    await stage.running("web", 2);
  };

  it("operators' rules drop published and overlay traffic, and outlive restarts, audits and mending", async () => {
    await works();
    const drop = "add rule inet starling_user forward meta l4proto tcp ct original proto-dst 8080 counter drop";
    for (const host of [stage.host("m1"), w1]) await nft(host, drop);
    const dropAll = "add rule bridge starling_user forward ip protocol tcp counter drop";
    await restart();
    await nft(w1, dropAll, "flush chain inet starling c_forward");
    await stage.swarm.ctl(["network", "audit", "--repair"]);
    expect([await published(), await overlay()]).toEqual([false, false]);
    for (const [host, family] of [
      [stage.host("m1"), "inet"],
      [w1, "inet"],
      [w1, "bridge"],
    ] as const)
      await nft(host, `flush chain ${family} starling_user forward`);
    expect([await published(), await overlay()]).toEqual([true, true]);
  });

  it("a Docker Engine that starts later, and one that was there first", { timeout: 120_000 }, async () => {
    // It sets the policy when it is who switches forwarding on.
    await w1.mustExec(["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    await DockerEngine.start(w1, { bridge: true });
    expect(await w1.mustExec(["iptables", "-S", "FORWARD"])).toContain("-P FORWARD DROP");
    await works();
    await w1.mustExec(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"]);
    await works();
    await stage.swarm.endNode(w1);
    await w1.mustExec(["iptables", "-F", "FORWARD"]);
    await stage.swarm.startNode(w1);
    await w1.mustExec(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"]);
    await works();
  });

  it("rules of iptables that refuse the rest, put in and flushed", async () => {
    await w1.mustExec(["iptables", "-A", "FORWARD", "-j", "REJECT"]);
    await works();
    await w1.mustExec(["iptables", "-F", "FORWARD"]);
    await works();
  });

  it("firewalld's table, later, first, and when it is reloaded", async () => {
    await nft(w1, firewalld);
    await works();
    await restart();
    await works();
    await nft(w1, "delete table inet firewalld", firewalld);
    await works();
  });

  it("all rules flushed are mended at once, the operators' chains too", async () => {
    await nft(w1, "flush ruleset");
    await works();
    const tables = await w1.mustExec(["nft", "list", "tables"]);
    for (const family of ["inet", "bridge"]) expect(tables).toContain(`table ${family} starling_user`);
  });
});

/** What firewalld's nftables backend makes of its defaults (build_default_rules): the parts that forwarded packets meet. */
const firewalld = `
add table inet firewalld
add chain inet firewalld nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; }
add chain inet firewalld nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
add chain inet firewalld filter_FORWARD { type filter hook forward priority filter + 10; policy accept; }
add chain inet firewalld filter_FORWARD_dispatch
add rule inet firewalld filter_FORWARD ct state { established, related } accept
add rule inet firewalld filter_FORWARD ct status dnat accept
add rule inet firewalld filter_FORWARD iifname "lo" accept
add rule inet firewalld filter_FORWARD ct state invalid drop
add rule inet firewalld filter_FORWARD jump filter_FORWARD_dispatch
add rule inet firewalld filter_FORWARD reject with icmpx type admin-prohibited`;
