import type { Config } from "./bundle.fixture.ts";

/** What a program can see of itself. Mounts in the order of their targets; those of cgroups are each runtime's own. */
export const look = [
  'grep -E "^(Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Cpus_allowed_list|Mems_allowed_list)" /proc/self/status',
  "cat /proc/self/limits /proc/self/oom_score_adj /proc/self/personality /proc/self/uid_map /proc/self/gid_map",
  "hostname; pwd; env | sort; id",
  "grep -v cgroup /proc/mounts | sort",
  'ls -l /dev | grep -v "^total" | grep -v null | cut -c1-48',
].join("; ");

type Change = (config: Config) => void;
const ids = (hostID: number) => [{ containerID: 0, hostID, size: 65_536 }];
const tmpfs =
  (...options: string[]): Change =>
  (config) =>
    config["mounts"].push({ destination: "/data", type: "tmpfs", source: "tmpfs", options });
const bind =
  (...options: string[]): Change =>
  (config) =>
    config["mounts"].push({ destination: "/data", type: "none", source: "/usr/share", options });
const without =
  (type: string): Change =>
  (config) => {
    config["linux"].namespaces = config["linux"].namespaces.filter((n: { type: string }) => n.type !== type);
  };
const seccomp =
  (...syscalls: object[]): Change =>
  (config) => {
    config["linux"].seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
      syscalls,
    };
  };
const resources =
  (part: object): Change =>
  (config) => {
    config["linux"].resources = part;
  };
const all =
  (...changes: readonly Change[]): Change =>
  (config) => {
    for (const change of changes) change(config);
  };
const asUser: Change = (config) => {
  config["process"].user = { uid: 1000, gid: 1000, additionalGids: [5, 44], umask: 0o77 };
};
const inUserNamespace: Change = (config) => {
  config["linux"].namespaces.push({ type: "user" });
  config["linux"].uidMappings = ids(100_000);
  config["linux"].gidMappings = ids(200_000);
};
const cgroup = (controller: string, file: string) =>
  `cat /sys/fs/cgroup/${controller}/${file} 2>/dev/null || echo no such file`;
const withCgroups: Change = (config) =>
  config["mounts"].push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro"] });

/** Name, change of the config, and what the shell runs instead of `look`. */
export const cases: readonly [name: string, change: Change, script?: string][] = [
  ["a plain container", () => {}],
  ["exit code 7", () => {}, "exit 7"],
  ["end by a signal", () => {}, "sh -c 'kill -9 $$'; echo $?; kill -TERM $$; sleep 0; echo alive"],
  ["no such program", (c) => (c["process"].args = ["/nope"])],
  ["no such program in PATH", (c) => (c["process"].args = ["nope"])],
  ["a folder as program", (c) => (c["process"].args = ["/etc"])],
  ["no words", (c) => (c["process"].args = [])],
  ["a user with groups and umask", asUser],
  ["umask 0", (c) => (c["process"].user.umask = 0)],
  ["cwd", (c) => (c["process"].cwd = "/tmp")],
  ["cwd that is missing", (c) => (c["process"].cwd = "/fresh/folder"), "pwd; stat -c %a /fresh"],
  ["environment", (c) => c["process"].env.push("A=1", "A=2", "EMPTY=", "HOME=/somewhere")],
  [
    "rlimits",
    (c) =>
      (c["process"].rlimits = [
        { type: "RLIMIT_NOFILE", soft: 100, hard: 200 },
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
        { type: "RLIMIT_STACK", soft: 1_048_576, hard: 18446744073709551615n.toString() },
      ].slice(0, 2)),
  ],
  ["unknown rlimit", (c) => (c["process"].rlimits = [{ type: "RLIMIT_WHAT", soft: 1, hard: 1 }])],
  ["oomScoreAdj", (c) => (c["process"].oomScoreAdj = 321)],
  ["new privileges", (c) => (c["process"].noNewPrivileges = false)],
  ["no capabilities", (c) => (c["process"].capabilities = {})],
  [
    "inheritable and ambient capabilities of a user",
    all(asUser, (c) =>
      Object.assign(c["process"].capabilities, { inheritable: ["CAP_KILL", "CAP_CHOWN"], ambient: ["CAP_KILL"] }),
    ),
  ],
  ["capabilities of a user without ambient", asUser],
  ["an unknown capability", (c) => c["process"].capabilities.bounding.push("CAP_WHAT")],
  ["personality", (c) => (c["linux"].personality = { domain: "LINUX32" })],
  ["read-only root", (c) => (c["root"].readonly = true), "echo x > /file; echo $?; echo y > /dev/file; echo $?"],
  [
    "domainname of the kernel by sysctl",
    (c) =>
      (c["linux"].sysctl = {
        "kernel.domainname": "example.org",
        "net.ipv4.ip_forward": "1",
        "kernel.shmmax": "12345678",
      }),
    "cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax",
  ],
  [
    "devices",
    (c) =>
      (c["linux"].devices = [
        { path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o640, uid: 3, gid: 4 },
        { path: "/dev/deep/fifo", type: "p", fileMode: 0o600 },
        { path: "/data/zero", type: "c", major: 1, minor: 5 },
      ]),
    "ls -l /dev /dev/deep /data | cut -c1-48",
  ],
  [
    "a device's file mode with type bits",
    (c) => (c["linux"].devices = [{ path: "/dev/x", type: "c", major: 1, minor: 3, fileMode: 0o666 }]),
  ],
  [
    "masked and read-only paths that are missing",
    (c) => c["linux"].maskedPaths.push("/none") && c["linux"].readonlyPaths.push("/none/such"),
  ],
  [
    "masked file",
    (c) => c["linux"].maskedPaths.push("/proc/uptime", "/tmp"),
    "cat /proc/uptime; echo x > /tmp/x; echo $?; grep -c . /proc/mounts",
  ],
  [
    "read-only path",
    (c) => c["linux"].readonlyPaths.push("/data"),
    "echo x > /data/x; echo $?; grep data /proc/mounts",
  ],
  ["no host name", (c) => delete c["hostname"], "hostname | grep -c ."],
  [
    "own cgroup namespace",
    (c) => c["linux"].namespaces.push({ type: "cgroup" }),
    "cat /proc/self/cgroup | cut -d: -f2-",
  ],
  ["the host's network", without("network"), "ls /sys/class/net | sort"],
  [
    "new network: lo alone, up",
    () => {},
    "ls /sys/class/net; cat /sys/class/net/lo/operstate; cat /proc/net/if_inet6 | cut -c1-32",
  ],
  ["the host's pids", without("pid"), "grep -c NSpid /proc/self/status"],
  ["user namespace", inUserNamespace],
  ["user namespace and user", all(inUserNamespace, asUser)],
  [
    "user namespace: files of the root belong to nobody",
    inUserNamespace,
    "stat -c %u:%g /bin; echo x > /tmp/mine 2>&1; ls -l /dev | cut -c1-30",
  ],
  ["tmpfs with options", tmpfs("nosuid", "nodev", "noexec", "mode=1777", "size=4096k", "noatime")],
  ["tmpfs, read-only", tmpfs("ro")],
  ["tmpfs with an unknown option", tmpfs("what")],
  ["tmpfs, synchronous, nodiratime", tmpfs("sync", "nodiratime", "dirsync", "strictatime")],
  ["bind", bind("bind")],
  ["rbind, read-only", bind("rbind", "ro")],
  ["bind with nosuid nodev noexec noatime", bind("bind", "nosuid", "nodev", "noexec", "noatime")],
  ["bind, rslave, rw", bind("rbind", "rslave", "rw")],
  ["bind, private", bind("rbind", "rprivate", "ro")],
  [
    "bind of a file",
    (c) =>
      c["mounts"].push({
        destination: "/etc/hostname",
        type: "bind",
        source: "/etc/hostname",
        options: ["bind", "ro"],
      }),
    "cat /etc/hostname; grep hostname /proc/mounts; echo x > /etc/hostname; echo $?",
  ],
  [
    "bind of nothing",
    (c) => c["mounts"].push({ destination: "/data", type: "bind", source: "/no/such", options: ["bind"] }),
  ],
  ["relative destination", (c) => c["mounts"].push({ destination: "data/deep", type: "tmpfs", source: "tmpfs" })],
  [
    "destination through a link that leads up",
    (c) => c["mounts"].push({ destination: "/etc/../../../../tmp", type: "tmpfs", source: "tmpfs" }),
  ],
  ["rro", bind("rbind", "rro")],
  ["an unknown file system", (c) => c["mounts"].push({ destination: "/data", type: "whatfs", source: "x" })],
  [
    "mqueue and shm",
    (c) =>
      c["mounts"].push(
        { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
        {
          destination: "/dev/shm",
          type: "tmpfs",
          source: "shm",
          options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
      ),
  ],
  [
    "root propagation shared",
    (c) => (c["linux"].rootfsPropagation = "shared"),
    "grep ' / / ' /proc/self/mountinfo | grep -c shared",
  ],
  [
    "root propagation private",
    (c) => (c["linux"].rootfsPropagation = "private"),
    "grep -c -E 'shared|master' /proc/self/mountinfo",
  ],
  [
    "seccomp: errno",
    seccomp({ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28 }),
    "ln -s a /tmp/made; busybox mkdir /tmp/x; echo $?; grep Seccomp: /proc/self/status",
  ],
  [
    "seccomp: kill",
    seccomp({ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL_PROCESS" }),
    "busybox mkdir /tmp/y; echo $?",
  ],
  [
    "seccomp: by argument",
    seccomp({ names: ["personality"], action: "SCMP_ACT_ERRNO", args: [{ index: 0, value: 8, op: "SCMP_CMP_EQ" }] }),
    "busybox setarch linux32 true; echo $?; busybox setarch x86_64 true; echo $?",
  ],
  [
    "seccomp: masked argument",
    seccomp({
      names: ["socket"],
      action: "SCMP_ACT_ERRNO",
      args: [{ index: 0, value: 0xff, valueTwo: 2, op: "SCMP_CMP_MASKED_EQ" }],
    }),
    "busybox ifconfig lo >/dev/null; echo $?",
  ],
  ["seccomp: unknown calls", seccomp({ names: ["no_such_call", "mkdir"], action: "SCMP_ACT_ERRNO" }), "echo fine"],
  ["seccomp: unknown action", seccomp({ names: ["mkdir"], action: "SCMP_ACT_WHAT" })],
  [
    "seccomp with new privileges",
    all(seccomp({ names: ["mkdir"], action: "SCMP_ACT_ERRNO" }), (c) => (c["process"].noNewPrivileges = false)),
    "grep -E 'Seccomp:|NoNew' /proc/self/status",
  ],
  [
    "memory limit",
    all(withCgroups, resources({ memory: { limit: 67_108_864, reservation: 33_554_432, swappiness: 10 } })),
    `${cgroup("memory", "memory.limit_in_bytes")}; ${cgroup("memory", "memory.soft_limit_in_bytes")}; ${cgroup("memory", "memory.swappiness")}`,
  ],
  ["memory too small to start", resources({ memory: { limit: 4096 } }), "echo started"],
  [
    "cpu limits",
    all(withCgroups, resources({ cpu: { shares: 512, quota: 50_000, period: 200_000, cpus: "0", mems: "0" } })),
    `${cgroup("cpu", "cpu.shares")}; ${cgroup("cpu", "cpu.cfs_quota_us")}; ${cgroup("cpu", "cpu.cfs_period_us")}; ${cgroup("cpuset", "cpuset.cpus")}; grep Cpus_allowed_list /proc/self/status`,
  ],
  ["pids limit", all(withCgroups, resources({ pids: { limit: 42 } })), cgroup("pids", "pids.max")],
  [
    "device rules: none",
    resources({ devices: [{ allow: false, access: "rwm" }] }),
    "mknod /tmp/vda b 254 0; cat /tmp/vda; echo $?; cat /dev/zero | busybox head -c 1 | busybox wc -c",
  ],
  [
    "device rules: fuse allowed, read",
    resources({
      devices: [
        { allow: false, access: "rwm" },
        { allow: true, type: "c", major: 10, minor: 229, access: "rwm" },
      ],
    }),
    "mknod /tmp/fuse c 10 229; echo x > /tmp/fuse; echo $?",
  ],
  [
    "block io",
    all(withCgroups, resources({ blockIO: { throttleReadBpsDevice: [{ major: 254, minor: 0, rate: 1_048_576 }] } })),
    cgroup("blkio", "blkio.throttle.read_bps_device"),
  ],
  ["prestart hook fails", (c) => (c["hooks"] = { prestart: [{ path: "/bin/false" }] })],
  ["createRuntime hook fails", (c) => (c["hooks"] = { createRuntime: [{ path: "/bin/false" }] })],
  ["createContainer hook fails", (c) => (c["hooks"] = { createContainer: [{ path: "/bin/false" }] })],
  ["poststop hook fails", (c) => (c["hooks"] = { poststop: [{ path: "/bin/false" }] }), "echo ran"],
  ["unknown version", (c) => (c["ociVersion"] = "9.9")],
  ["no version", (c) => delete c["ociVersion"]],
  ["unknown members", (c) => Object.assign(c, { what: 1, process: { ...c["process"], what: {} } })],
  ["no root", (c) => delete c["root"]],
  ["root that is missing", (c) => (c["root"].path = "none")],
];
