import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Bundle, type Config } from "./bundle.fixture.ts";

/** Members that crun of Debian 12 does not know, or takes otherwise than the specification says; and refusals. */
let bundle: Bundle;
beforeAll(() => {
  bundle = new Bundle();
});
afterAll(() => bundle?.remove());

type Change = (config: Config) => void;

describe("members are honoured", () => {
  const honoured: readonly (readonly [string, Change, string, string])[] = [
    [
      "time offsets",
      (c) => {
        c["linux"].namespaces.push({ type: "time" });
        c["linux"].timeOffsets = { monotonic: { secs: 5000, nanosecs: 7 }, boottime: { secs: 1_000_000 } };
      },
      "busybox tr -s ' ' < /proc/self/timens_offsets; test $(cut -d. -f1 /proc/uptime) -ge 1000000 && echo later",
      "monotonic 5000 7\nboottime 1000000 0\nlater\n",
    ],
    [
      "the last of several options",
      (c) => c["mounts"].push({ destination: "/data", type: "tmpfs", options: ["ro", "rw", "noexec", "exec"] }),
      "grep ' /data ' /proc/mounts | cut -d' ' -f4",
      "rw,relatime\n",
    ],
    [
      "tmpcopyup",
      (c) => c["mounts"].push({ destination: "/bin", type: "tmpfs", options: ["tmpcopyup", "ro"] }),
      "grep -c ' /bin tmpfs ro' /proc/mounts; ls /bin | grep -c .; stat -c %a /bin/busybox",
      "1\n22\n755\n",
    ],
    [
      "idmapped binds",
      (c) => {
        const map = (hostID: number) => [{ containerID: 0, hostID, size: 65_536 }];
        const source = join(bundle.folder, "rootfs");
        c["mounts"].push({
          destination: "/data",
          source,
          options: ["bind", "idmap"],
          uidMappings: map(300),
          gidMappings: map(400),
        });
      },
      "stat -c %u:%g /data/bin /bin",
      "300:400\n0:0\n",
    ],
    [
      "scheduler and io priority",
      (c) => {
        c["process"].scheduler = { policy: "SCHED_BATCH", nice: 5 };
        c["process"].ioPriority = { class: "IOPRIO_CLASS_IDLE", priority: 0 };
      },
      "cut -d' ' -f19,41 /proc/self/stat; busybox ionice",
      "5 3\nidle\n",
    ],
    [
      "rlimits without bound",
      (c) => (c["process"].rlimits = [{ type: "RLIMIT_STACK", soft: 8_388_608, hard: 2 ** 64 }]),
      "grep -c 'stack.*8388608.*unlimited' /proc/self/limits",
      "1\n",
    ],
    [
      "nulls as absent members",
      (c) =>
        Object.assign(c["linux"], { devices: null, seccomp: null, resources: null, uidMappings: null, sysctl: null }),
      "echo fine",
      "fine\n",
    ],
    [
      "unified files of cgroup v2",
      (c) => (c["linux"].resources = { unified: { "cgroup.max.depth": "3" } }),
      "echo fine",
      "fine\n",
    ],
  ];
  it.each(honoured)("%s", (_name, change, script, out) => {
    const config = JSON.stringify(bundle.config(script, change)).replace(
      "18446744073709552000",
      "18446744073709551615",
    );
    expect(bundle.runText(config)).toEqual({ code: 0, out, err: "" });
  });

  it("joins namespaces by path", () => {
    const first = `starling-fields-${process.pid}`;
    const config = bundle.config("hostname joined; exec sleep 1000", (c) => {
      for (const set of ["bounding", "permitted", "effective"]) c["process"].capabilities[set].push("CAP_SYS_ADMIN");
    });
    const file = bundle.write(config);
    expect(bundle.ours("run", "-d", "-b", bundle.folder, "-f", file, first)).toMatchObject({ code: 0 });
    const { pid } = JSON.parse(bundle.ours("state", first).out);
    while (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("sleep") && existsSync(`/proc/${pid}`)) {}
    const outcome = bundle.run(
      bundle.config("hostname; ls /proc | grep -c '^1$'; echo $$", (c) => {
        delete c["hostname"];
        for (const space of c["linux"].namespaces) {
          const file_ = { pid: "pid", network: "net", ipc: "ipc", uts: "uts" }[space.type as "pid"];
          if (file_ !== undefined) space.path = `/proc/${pid}/ns/${file_}`;
        }
      }),
    );
    bundle.ours("delete", "-f", first);
    expect(outcome).toMatchObject({ code: 0, err: "" });
    expect(outcome.out).toMatch(/^joined\n1\n[2-9]\d*\n$/);
  });
});

describe("members are refused by name", () => {
  const refused: readonly (readonly [string, Change])[] = [
    ["linux.intelRdt", (c) => (c["linux"].intelRdt = { closID: "x" })],
    ["linux.netDevices", (c) => (c["linux"].netDevices = { eth0: {} })],
    ["linux.memoryPolicy", (c) => (c["linux"].memoryPolicy = { mode: "MPOL_BIND" })],
    ["process.apparmorProfile", (c) => (c["process"].apparmorProfile = "x")],
    ["process.selinuxLabel", (c) => (c["process"].selinuxLabel = "x")],
    ["process.cwd", (c) => (c["process"].cwd = "relative")],
    ["process.user.uid", (c) => (c["process"].user.uid = -1)],
    ["process.args", (c) => (c["process"].args = "sh")],
    [
      "process.rlimits[1].type",
      (c) => (c["process"].rlimits = [1, 2].map(() => ({ type: "RLIMIT_CORE", soft: 0, hard: 0 }))),
    ],
    ["linux.namespaces[5].type", (c) => c["linux"].namespaces.push({ type: "pid" })],
    ["linux.namespaces[5].type", (c) => c["linux"].namespaces.push({ type: "what" })],
    ["linux.namespaces", (c) => c["linux"].namespaces.pop()],
    ["linux.uidMappings", (c) => c["linux"].namespaces.push({ type: "user" })],
    ["linux.sysctl", (c) => (c["linux"].sysctl = { "vm.swappiness": "1" })],
    ["linux.devices[0].type", (c) => (c["linux"].devices = [{ type: "x", path: "/dev/x" }])],
    ["linux.seccomp.defaultAction", (c) => (c["linux"].seccomp = { defaultAction: "SCMP_ACT_WHAT" })],
    ["linux.seccomp.listenerPath", (c) => (c["linux"].seccomp = { defaultAction: "SCMP_ACT_NOTIFY" })],
    ["linux.personality.domain", (c) => (c["linux"].personality = { domain: "BSD" })],
    ["linux.rootfsPropagation", (c) => (c["linux"].rootfsPropagation = "what")],
    ["linux.maskedPaths", (c) => (c["linux"].maskedPaths = ["relative"])],
    ["linux.resources.memory.limit", (c) => (c["linux"].resources = { memory: { limit: "1g" } })],
    [
      "linux.resources.hugepageLimits",
      (c) => (c["linux"].resources = { hugepageLimits: [{ pageSize: "9EB", limit: 1 }] }),
    ],
    ["linux.resources.rdma", (c) => (c["linux"].resources = { rdma: { x: { hcaHandles: 1 } } })],
    ["mounts[4].destination", (c) => c["mounts"].push({ destination: "/proc/sys", type: "tmpfs" })],
    ["mounts[4].source", (c) => c["mounts"].push({ destination: "/data", options: ["bind"] })],
    ["hooks.prestart[0].path", (c) => (c["hooks"] = { prestart: [{ path: "relative" }] })],
    ["hooks.poststop[0].timeout", (c) => (c["hooks"] = { poststop: [{ path: "/bin/true", timeout: 0 }] })],
    ["root.path", (c) => (c["root"] = {})],
    ["hostname", (c) => (c["hostname"] = "x".repeat(80))],
  ];
  it.each(refused)("%s", (member, change) => {
    const outcome = bundle.run(bundle.config("true", change));
    expect(outcome.code).toBe(1);
    expect(outcome.err).toContain(member);
    expect(outcome.err.trim().split("\n")).toHaveLength(1);
    expect(bundle.containers()).toEqual([]);
  });
});

it("--systemd-cgroup, unknown options and bad ids are refused; errors also go to the log", () => {
  const log = join(bundle.folder, "log.json");
  const outcome = bundle.ours("--log", log, "--log-format", "json", "--systemd-cgroup", "list");
  expect(outcome).toMatchObject({ code: 1 });
  expect(JSON.parse(readFileSync(log, "utf8"))).toMatchObject({
    level: "error",
    msg: expect.stringContaining("--systemd-cgroup"),
  });
  for (const words of [
    ["list", "--what"],
    ["create", "../x"],
    ["create", "a/b"],
    ["what"],
    [],
    ["state", "none"],
    ["state"],
  ]) {
    expect(bundle.ours(...words).code).toBe(1);
  }
  expect(bundle.ours("spec", "-b", bundle.folder).code).toBe(existsSync(join(bundle.folder, "config.json")) ? 1 : 0);
});
