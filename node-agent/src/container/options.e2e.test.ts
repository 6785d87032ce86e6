import { execFileSync } from "node:child_process";
import { createSocket as createDatagramSocket } from "node:dgram";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import {
  BoolValue,
  ContainerSpec_DNSConfig,
  ContainerSpec_Ulimit,
  Driver,
  Int64Value,
  Mount,
  Mount_BindOptions,
  Mount_BindOptions_Propagation,
  Mount_TmpfsOptions,
  Mount_Type,
  Mount_VolumeOptions,
  namedResource,
  Privileges,
  Privileges_SELinuxContext,
  Privileges_SeccompOpts,
  Privileges_SeccompOpts_SeccompMode,
  ResourceRequirements,
  Resources,
  type Task,
} from "@starling/api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContainerExecutor } from "./executor.ts";
import { ContainerStage, outputOf, type TaskParts } from "./test-stage.ts";

const signal = new AbortController().signal;
const MiB = 2 ** 20;
let stage: ContainerStage;
let folder: string;
let executor: ContainerExecutor;

beforeAll(async () => {
  stage = await ContainerStage.open((own) => ({ hostname: hostname(), cdiFolders: [join(own, "cdi")] }));
  ({ folder, executor } = stage);
  mkdirSync(join(folder, "cdi"));
});

afterAll(() => stage?.close());

type Options = Readonly<Record<string, string>>;

const task = (script: string, more?: TaskParts) => stage.task(script, more);
const run = (of: Task) => stage.run(of);
const runWith = (options: Options, script: string) => run(task(script, { options }));

describe("namespaces", () => {
  it("shares those of the host that are asked for", async () => {
    const own = ["pid", "ipc", "net", "uts"].map((name) => `readlink /proc/self/ns/${name}`).join("; ");
    const ofHost = ["pid", "ipc", "net", "uts"].map((name) =>
      execFileSync("readlink", [`/proc/self/ns/${name}`], { encoding: "utf8" }).trim(),
    );
    const shared = await runWith({ pid: "host", ipc: "host", network: "host", uts: "host" }, own);
    expect(shared.trim().split("\n")).toEqual(ofHost);
    const kept = (await runWith({}, own)).trim().split("\n");
    expect(kept.filter((name) => ofHost.includes(name))).toEqual([]);
  });

  it("sees and signals the host's processes with pid=host, and leaves none of its own behind", async () => {
    const of = task("(sleep 1000 & echo $!) ; ps | wc -l; exit 0", { options: { pid: "host" } });
    const [pid, count] = (await run(of)).trim().split("\n").map(Number);
    expect(count).toBeGreaterThan(3);
    expect(existsSync(`/proc/${pid}`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))).toBe(false);
  });

  it("has a domain name, and memory for /dev/shm of the size asked for", async () => {
    const text = await runWith(
      { domainname: "example.org", "shm-size": "1048576" },
      "cat /proc/sys/kernel/domainname; df -k /dev/shm | tail -1 | awk '{print $2}'; head -c 2000000 /dev/zero > /dev/shm/x 2>&1 || echo full",
    );
    expect(text).toMatch(/^example.org\n1024\n.*full\n$/s);
  });

  it("refuses sysctls of namespaces that are the host's", async () => {
    const of = task("true", { options: { network: "host" }, spec: { sysctls: { "net.core.somaxconn": "9" } } });
    expect(await run(of)).toMatch(/sysctl `net.core.somaxconn`: not of the container's own namespaces/);
  });
});

describe("devices", () => {
  it("may open what it was given, at the place and in the way it was given", async () => {
    const text = await runWith(
      { device: "/dev/net/tun:/dev/tunnel:r" },
      "(: < /dev/tunnel) && echo read; (: > /dev/tunnel) || echo refused; ls /dev/net/tun",
    );
    expect(text).toMatch(
      /^read\nsh: can't create \/dev\/tunnel: Operation not permitted\nrefused\nls: \/dev\/net\/tun: No such/,
    );
  });

  it("may open devices that a rule lets through", async () => {
    const script = "mknod /k c 10 200; (: < /k) && echo read; true";
    expect(await runWith({}, script)).toBe("sh: can't open /k: Operation not permitted\n");
    expect(await runWith({ "device-cgroup-rule": "c 10:* r" }, script)).toBe("read\n");
  });

  it("has all of them when privileged, and every capability, and no filter", async () => {
    const text = await runWith(
      { privileged: "true" },
      "ls /dev/net/tun; mkdir /mnt; mount -t tmpfs x /mnt && echo mounted; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; wc -c < /proc/timer_list | grep -c '^0$'; touch /sys/fs/cgroup/x 2>&1 | grep -c Read-only; (: > /dev/net/tun) && echo open",
    );
    expect(text).toBe("/dev/net/tun\nmounted\nNoNewPrivs:\t0\nSeccomp:\t0\n0\n0\nopen\n");
  });

  it("gets what a CDI spec says, by name and with a generic resource", async () => {
    const edits = {
      deviceNodes: [{ path: "/dev/gpu0", hostPath: "/dev/net/tun", permissions: "r" }],
      env: ["GPU=zero"],
    };
    const spec = {
      cdiVersion: "0.6.0",
      kind: "example.com/gpu",
      containerEdits: { mounts: [{ hostPath: "/etc/hostname", containerPath: "/usr/lib/driver", options: ["ro"] }] },
      devices: [{ name: "0", containerEdits: edits }],
    };
    writeFileSync(join(folder, "cdi", "gpu.json"), JSON.stringify(spec));
    const script =
      "(: < /dev/gpu0) && echo $GPU; cmp /usr/lib/driver /usr/lib/driver && echo driver; tr '\\0' '\\n' < /proc/1/environ | grep RESOURCE";
    expect(await runWith({ device: "example.com/gpu=0" }, script)).toBe("zero\ndriver\n");
    const assigned = { ...task(script), assignedGenericResources: [namedResource("example.com/gpu", "0")] };
    expect(await run(assigned)).toBe("zero\ndriver\nDOCKER_RESOURCE_EXAMPLE.COM/GPU=0\n");
    expect(await runWith({ device: "example.com/gpu=9" }, "true")).toContain(
      "CDI device example.com/gpu=9: not on this node, which has example.com/gpu=0",
    );
  });

  it("refuses what is not there", async () => {
    expect(await runWith({ device: "/dev/nosuch" }, "true")).toBe("device /dev/nosuch: is no device on this node");
  });
});

describe("mounts", () => {
  const mount = (more: Partial<Mount>) => Mount.create(more);
  const bind = (source: string, bindOptions: Partial<Mount_BindOptions> = {}, more: Partial<Mount> = {}) =>
    mount({ type: Mount_Type.BIND, source, target: "/m", bindOptions: Mount_BindOptions.create(bindOptions), ...more });

  it("shows mounts made later as their propagation says", async () => {
    const source = join(folder, "propagation");
    mkdirSync(source);
    execFileSync("mount", ["-t", "tmpfs", "x", source]);
    execFileSync("mount", ["--make-shared", source]);
    try {
      for (const below of ["host", "inside"]) mkdirSync(join(source, below));
      const { RPRIVATE, RSLAVE, RSHARED } = Mount_BindOptions_Propagation;
      const results: Record<string, unknown> = {};
      for (const [name, propagation] of Object.entries({ RPRIVATE, RSLAVE, RSHARED })) {
        const script =
          "echo up; while [ ! -e /m/go ]; do sleep 0.02; done; mount -t tmpfs y /m/inside; grep -c ' /m/host ' /proc/self/mounts; touch /m/done; while [ -e /m/go ]; do sleep 0.02; done";
        const of = task(script, { spec: { mounts: [bind(source, { propagation })] }, options: { privileged: "true" } });
        const controller = executor.controller(of);
        await controller.prepare(signal);
        await controller.start(signal);
        execFileSync("mount", ["-t", "tmpfs", "z", join(source, "host")]);
        writeFileSync(join(source, "go"), "");
        const ended = controller.wait(signal);
        while (!existsSync(join(source, "done"))) await new Promise((resolve) => setTimeout(resolve, 10));
        const onHost = readFileSync("/proc/self/mounts", "utf8").includes(`${source}/inside`);
        rmSync(join(source, "done"));
        rmSync(join(source, "go"));
        await ended;
        results[name] = { inside: (await outputOf(controller)).trim().split("\n").at(-1), onHost };
        await controller.remove(signal);
        execFileSync("umount", [join(source, "host")]);
        if (onHost) execFileSync("umount", [join(source, "inside")]);
      }
      expect(results).toEqual({
        RPRIVATE: { inside: "0", onHost: false },
        RSLAVE: { inside: "1", onHost: false },
        RSHARED: { inside: "1", onHost: true },
      });
    } finally {
      execFileSync("umount", ["-R", source]);
    }
    const shared = { propagation: Mount_BindOptions_Propagation.SHARED };
    execFileSync("mount", ["-t", "tmpfs", "x", source]);
    execFileSync("mount", ["--make-private", source]);
    try {
      expect(await run(task("true", { spec: { mounts: [bind(source, shared)] } }))).toContain(
        "does not lie on a shared mount",
      );
    } finally {
      execFileSync("umount", ["-R", source]);
    }
  });

  it("makes a bind's source when asked to, else says that it is missing", async () => {
    const source = join(folder, "made", "here");
    const missing = { mounts: [bind(source)] };
    expect(await run(task("true", { spec: missing }))).toContain(
      `bind source path does not exist on this node: ${source}`,
    );
    const made = { mounts: [bind(source, { createmountpoint: true })] };
    expect(await run(task("touch /m/x; ls /m", { spec: made }))).toBe("x\n");
  });

  it("gives a tmpfs its size, mode and options", async () => {
    const options = { sizeBytes: 4 * MiB, mode: 0o750, options: "uid=1000,exec" };
    const mounts = [mount({ type: Mount_Type.TMPFS, target: "/m", tmpfsOptions: Mount_TmpfsOptions.create(options) })];
    const script = "stat -c '%a %u' /m; df -k /m | tail -1 | awk '{print $2}'; cp /bin/busybox /m/echo; /m/echo run";
    expect(await run(task(script, { spec: { mounts } }))).toMatch(/^750 1000\n4096\nrun\n/s);
    const plain = [mount({ type: Mount_Type.TMPFS, target: "/m" })];
    const noExec = "cp /bin/busybox /m/echo; /m/echo run 2>&1; true";
    expect(await run(task(noExec, { spec: { mounts: plain } }))).toContain("Permission denied");
  });

  const volume = (source: string, target: string, options: Partial<Mount_VolumeOptions> = {}, readonly = false) =>
    mount({ type: Mount_Type.VOLUME, source, target, readonly, volumeOptions: Mount_VolumeOptions.create(options) });

  it("fills a new volume with what the image has there, once, and keeps it", async () => {
    const mounts = [volume("data", "/etc")];
    expect(await run(task("cat /etc/group; rm /etc/group; echo new > /etc/own", { spec: { mounts } }))).toContain(
      "extra:x:2000:app",
    );
    const again = await run(task("ls /etc; stat -c %a /etc", { spec: { mounts } }));
    expect(again).toContain("own\npasswd\n");
    expect(again).not.toContain("group");
    const nocopy = [volume("bare", "/etc", { nocopy: true, labels: { a: "1" } })];
    expect(await run(task("ls /etc", { spec: { mounts: nocopy } }))).toBe("hostname\nhosts\nresolv.conf\n");
    expect((await executor.volumes.list()).map(({ name, labels }) => [name, labels])).toEqual([
      ["bare", { a: "1" }],
      ["data", {}],
    ]);
    expect(await executor.volumes.remove("bare")).toBe(true);
    expect(await executor.volumes.get("bare")).toBeUndefined();
  });

  it("mounts a folder of a volume, but none that a link in it leads to", async () => {
    await run(task("mkdir /v/in; echo deep > /v/in/x; ln -s / /v/out", { spec: { mounts: [volume("parts", "/v")] } }));
    const of = (subpath: string) => task("cat /p/x", { spec: { mounts: [volume("parts", "/p", { subpath })] } });
    expect(await run(of("in"))).toBe("deep\n");
    expect(await run(of("out"))).toMatch(/open `out`: ELOOP/);
    expect(await run(of("../parts"))).toContain("must be a path within the volume");
  });

  it("takes the local driver's options", async () => {
    const driverConfig = (options: Record<string, string>) => ({
      driverConfig: Driver.create({ name: "local", options }),
    });
    const source = join(folder, "driver");
    mkdirSync(source);
    const bound = [volume("bound", "/v", driverConfig({ type: "none", o: "bind", device: source }))];
    await run(task("echo x > /v/file", { spec: { mounts: bound } }));
    expect(readFileSync(join(source, "file"), "utf8")).toBe("x\n");
    const memory = [volume("memory", "/v", driverConfig({ type: "tmpfs", device: "tmpfs", o: "size=1m,uid=7" }))];
    expect(await run(task("stat -c %u /v; df -k /v | tail -1 | awk '{print $2}'", { spec: { mounts: memory } }))).toBe(
      "7\n1024\n",
    );
  });

  it("removes a volume without a name with its task", async () => {
    const before = (await executor.volumes.list()).length;
    const of = task("echo x > /v/x; ls /v", { spec: { mounts: [volume("", "/v")] } });
    expect(await run(of)).toBe("x\n");
    expect((await executor.volumes.list()).length).toBe(before);
  });
});

describe("limits", () => {
  const limits = (more: Partial<ResourceRequirements>) => ResourceRequirements.create(more);

  it("keeps it on the CPUs it may run on", async () => {
    expect(await runWith({ "cpuset-cpus": "0" }, "grep Cpus_allowed_list /proc/self/status")).toBe(
      "Cpus_allowed_list:\t0\n",
    );
    expect(await runWith({ "cpuset-cpus": "9999" }, "true")).toMatch(/cpuset.cpus/);
  });

  it("slows a block device down", async () => {
    // The disk that the test's folder is on; writes that bypass the page cache, 2 MiB at 1 MiB/s.
    const disk = execFileSync("findmnt", ["-no", "SOURCE", "-T", folder], { encoding: "utf8" }).trim();
    if (!disk.startsWith("/dev/")) return;
    const mounts = [Mount.create({ type: Mount_Type.BIND, source: folder, target: "/m" })];
    const script = "time dd if=/dev/zero of=/m/blob bs=256k count=8 oflag=direct 2>&1";
    const of = task(script, { spec: { mounts }, options: { "device-write-bps": `${disk}:1m` } });
    expect(await run(of)).toMatch(/real\s+\d+m ?([1-9]|\d\d)/);
  });

  it("weighs its CPU time", async () => {
    const of = task("cat /proc/self/cgroup; sleep 1000", { options: { "cpu-shares": "77" } });
    const controller = executor.controller(of);
    await controller.prepare(signal);
    const group = groupsOf(of).find(
      (path) => existsSync(join(path, "cpu.shares")) || existsSync(join(path, "cpu.weight")),
    )!;
    const read = (name: string) => existsSync(join(group, name)) && readFileSync(join(group, name), "utf8").trim();
    expect(read("cpu.shares") || read("cpu.weight")).toBe(read("cpu.shares") ? "77" : "3");
    await controller.remove(signal);
  });

  it("has swap only on top of a memory limit", async () => {
    const resources = limits({
      limits: Resources.create({ memoryBytes: 32 * MiB }),
      swapBytes: Int64Value.create({ value: 16 * MiB }),
      memorySwappiness: Int64Value.create({ value: 10 }),
    });
    const of = task("true", { resources });
    const controller = executor.controller(of);
    await controller.prepare(signal);
    const group = groupsOf(of).find((path) => existsSync(join(path, "memory.swappiness")))!;
    expect(readFileSync(join(group, "memory.swappiness"), "utf8").trim()).toBe("10");
    const both = join(group, "memory.memsw.limit_in_bytes");
    if (existsSync(both)) expect(readFileSync(both, "utf8").trim()).toBe(String(48 * MiB));
    await controller.remove(signal);
  });

  function groupsOf(of: Task): readonly string[] {
    const state = JSON.parse(readFileSync(join(folder, "run", "containers", of.id, "state.json"), "utf8"));
    return state.cgroups;
  }
});

describe("log drivers", () => {
  const withDriver = (of: Task, name: string, options: Options) => ({
    ...of,
    logDriver: Driver.create({ name, options }),
  });

  it("sends each line to a syslog collector, by UDP and TCP, and keeps it for readers, too", async () => {
    const udp = createDatagramSocket("udp4");
    await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", resolve));
    const tcp = createServer();
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    try {
      const datagrams: string[] = [];
      const both = new Promise<void>((resolve) => {
        udp.on("message", (message) => datagrams.push(String(message)) === 2 && resolve());
      });
      const address = `udp://127.0.0.1:${udp.address().port}`;
      const of = task("echo out; echo err >&2", { twoStreams: true });
      const sent = withDriver(of, "syslog", { "syslog-address": address, tag: "web" });
      expect((await run(sent)).split("\n").sort()).toEqual(["", "err", "out"]);
      await both;
      const [err, out] = datagrams.sort();
      expect(out).toMatch(/^<30>\w{3} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ web\[\d+\]: out$/);
      expect(err).toMatch(/^<27>.* web\[\d+\]: err$/);
      const received = new Promise<string>((resolve) => {
        tcp.once("connection", (socket) => {
          let text = "";
          socket.on("data", (data) => {
            text += data;
          });
          socket.on("close", () => resolve(text));
        });
      });
      const { port } = tcp.address() as AddressInfo;
      const options = { "syslog-address": `tcp://127.0.0.1:${port}`, "syslog-format": "rfc5424" };
      const many = withDriver(task("seq 1 2000"), "syslog", options);
      await run(many);
      const lines = (await received).trimEnd().split("\n");
      expect(lines).toHaveLength(2000);
      expect(lines[1999]).toMatch(/^<30>1 \d{4}-\d\d-\d\dT[\d:.]+Z \S+ \S+ \d+ \S+ - 2000$/);
    } finally {
      udp.close();
      tcp.close();
    }
  });

  it("keeps nothing with none", async () => {
    expect(await run(withDriver(task("echo x"), "none", {}))).toBe("");
  });
});

describe("confinement", () => {
  const seccomp = (mode: Privileges_SeccompOpts_SeccompMode, profile: object = {}) =>
    Privileges.create({
      seccomp: Privileges_SeccompOpts.create({ mode, profile: Buffer.from(JSON.stringify(profile)) }),
    });
  const { CUSTOM, UNCONFINED } = Privileges_SeccompOpts_SeccompMode;

  it("filters system calls by a profile of the service's own", async () => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 30 },
        { names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{ index: 1, value: 10, op: "SCMP_CMP_EQ" }] },
      ],
    };
    const script = "mkdir /d; kill -USR1 $$; trap 'echo two' USR2; kill -USR2 $$; true";
    expect(await run(task(script, { spec: { privileges: seccomp(CUSTOM, profile) } }))).toBe(
      "mkdir: can't create directory '/d': Read-only file system\nsh: can't kill pid 1: Operation not permitted\ntwo\n",
    );
    const bad = { defaultAction: "SCMP_ACT_FLY" };
    expect(await run(task("true", { spec: { privileges: seccomp(CUSTOM, bad) } }))).toBe(
      'privileges.seccomp: defaultAction: "SCMP_ACT_FLY" is not an action this node knows',
    );
    expect(await run(task("unshare -U true && echo free", { spec: { privileges: seccomp(UNCONFINED) } }))).toBe(
      "free\n",
    );
  });

  it("says what the kernel cannot do", async () => {
    const modules = readdirSync("/sys/fs").includes("selinux");
    const selinuxContext = Privileges_SELinuxContext.create({ type: "spc_t" });
    const labelled = task("true", { spec: { privileges: Privileges.create({ selinuxContext }) } });
    if (!modules) expect(await run(labelled)).toBe("SELinux label: this node's kernel has no SELinux");
    if (!existsSync("/sys/module/apparmor")) {
      expect(await runWith({ apparmor: "mine" }, "true")).toBe(
        "AppArmor profile mine: this node's kernel has no AppArmor",
      );
    }
  });

  it("has the limits of its processes, soft and hard", async () => {
    const ulimits = [ContainerSpec_Ulimit.create({ name: "nofile", soft: 100, hard: 200 })];
    expect(await run(task("ulimit -Sn; ulimit -Hn", { spec: { ulimits } }))).toBe("100\n200\n");
    expect(await run(task("ulimit -n 200 && ulimit -n; ulimit -n 300", { spec: { ulimits, user: "app" } }))).toMatch(
      /^200\nsh: error setting limit: Operation not permitted\n$/,
    );
    const unknown = [ContainerSpec_Ulimit.create({ name: "wings", soft: 1, hard: 1 })];
    expect(await run(task("true", { spec: { ulimits: unknown } }))).toContain("unknown limit `wings`");
  });

  it("has the names and name servers that it was given", async () => {
    const dnsConfig = ContainerSpec_DNSConfig.create({
      nameservers: ["192.0.2.53"],
      search: ["example.org"],
      options: ["ndots:3"],
    });
    const spec = { dnsConfig, hosts: ["192.0.2.7 db database"], hostname: "web1" };
    const script = "cat /etc/resolv.conf; tail -1 /etc/hosts; hostname; cat /etc/hostname";
    expect(await run(task(script, { spec }))).toBe(
      "nameserver 192.0.2.53\nsearch example.org\noptions ndots:3\n192.0.2.7 db database\nweb1\nweb1\n",
    );
  });

  it("gains privileges by set-user-id programs where it may", async () => {
    const script = "grep NoNewPrivs /proc/self/status";
    expect(await runWith({}, script)).toBe("NoNewPrivs:\t1\n");
    expect(await runWith({ "no-new-privileges": "false" }, script)).toBe("NoNewPrivs:\t0\n");
  });

  it("cannot write to a read-only root, but to its tmpfs and volumes", async () => {
    const mounts = [Mount.create({ type: Mount_Type.TMPFS, target: "/m" })];
    const script = "touch /x 2>&1; touch /m/x && echo tmpfs";
    expect(await run(task(script, { spec: { readOnly: true, mounts, init: BoolValue.create({ value: true }) } }))).toBe(
      "touch: /x: Read-only file system\ntmpfs\n",
    );
  });
});
