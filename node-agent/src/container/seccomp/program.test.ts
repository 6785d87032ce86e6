import { describe, expect, it } from "vitest";
import { defaultSeccompProfile } from "./default-profile.ts";
import { parseSeccompProfile, type SeccompProfile } from "./profile.ts";
import { type Instruction, instructionsOf } from "./program.ts";
import { tablesOf } from "./system-calls.ts";

const dockerCapabilities = [
  ...["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"],
  ...["NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"],
].map((name) => `CAP_${name}`);

/** What the kernel would answer: bpf_run of a classic program, seccomp's subset. */
function answer(program: readonly Instruction[], call: { audit: number; number: number; args?: readonly bigint[] }) {
  const word = (offset: number): number => {
    if (offset === 0) return call.number;
    if (offset === 4) return call.audit;
    const arg = call.args?.[(offset - 16) >> 3] ?? 0n;
    return Number(BigInt.asUintN(32, offset % 8 === 0 ? arg : arg >> 32n));
  };
  let value = 0;
  for (let at = 0; ; at++) {
    const { code, ifTrue, ifFalse, k } = program[at]!;
    if (code === 0x20) value = word(k);
    else if (code === 0x54) value = (value & k) >>> 0;
    else if (code === 0x05) at += k;
    else if (code === 0x15) at += value === k ? ifTrue : ifFalse;
    else if (code === 0x25) at += value > k ? ifTrue : ifFalse;
    else if (code === 0x35) at += value >= k ? ifTrue : ifFalse;
    else return nameOf(k);
  }
}

function nameOf(result: number): string {
  if (result === 0x7fff0000) return "allow";
  if (result >>> 16 === 5) return `errno ${result & 0xffff}`;
  return result.toString(16);
}

function asker(profile: SeccompProfile, capabilities: readonly string[] = dockerCapabilities, architecture = "x64") {
  const program = instructionsOf(profile, { architecture, capabilities });
  return (name: string, args: readonly bigint[] = [], abi = Object.keys(tablesOf(architecture))[0]!) => {
    const { audit, numbers } = tablesOf(architecture)[abi]!;
    return answer(program, { audit, number: numbers.get(name) ?? Number(name), args });
  };
}

describe("the default profile", () => {
  it("answers every call of every ABI as its rules say", () => {
    for (const architecture of ["x64", "arm64"]) {
      const ask = asker(defaultSeccompProfile, dockerCapabilities, architecture);
      const allowed = new Set([
        ...defaultSeccompProfile.rules[0]!.names,
        ...["chroot", "arch_prctl", "modify_ldt", "sync_file_range2"],
        // These by their arguments, all zero here.
        ...["socket", "personality", "clone"],
      ]);
      for (const [abi, { numbers }] of Object.entries(tablesOf(architecture))) {
        const newest = Math.max(
          ...[...numbers].filter(([name]) => allowed.has(name) || name === "clone3").map(([, n]) => n),
        );
        for (const [name, number] of numbers) {
          const expected = allowed.has(name) ? "allow" : name === "clone3" || number > newest ? "errno 38" : "errno 1";
          expect([abi, name, ask(name, [], abi)]).toEqual([abi, name, expected]);
        }
        expect(ask("2000", [], abi)).toBe("errno 38");
      }
    }
  });

  it("lets through what a capability unlocks", () => {
    const withAdmin = asker(defaultSeccompProfile, [...dockerCapabilities, "CAP_SYS_ADMIN"]);
    const without = asker(defaultSeccompProfile, []);
    for (const name of ["mount", "unshare", "bpf", "clone3", "sethostname"]) expect(withAdmin(name)).toBe("allow");
    expect(withAdmin("clone", [0x10000000n])).toBe("allow");
    expect([without("chroot"), without("clock_settime"), without("ptrace")]).toEqual(["errno 1", "errno 1", "allow"]);
    expect(asker(defaultSeccompProfile, ["CAP_SYS_TIME"])("clock_settime")).toBe("allow");
  });

  it("looks at arguments", () => {
    const ask = asker(defaultSeccompProfile);
    const families = (list: readonly number[]) => list.map((family) => ask("socket", [BigInt(family)]));
    expect(families([1, 2, 10, 11, 16, 17, 45])).toEqual(Array(7).fill("allow"));
    // DECnet, ATMSVC, AF_ALG, AF_VSOCK, and what is not a family yet.
    expect(families([12, 20, 38, 40, 46])).toEqual(Array(5).fill("errno 1"));
    expect(ask("socket", [0x1_0000_0002n])).toBe("errno 1");
    expect([ask("clone", [0x11n]), ask("clone", [0x20000011n])]).toEqual(["allow", "errno 1"]);
    expect([ask("personality", [0xffffffffn]), ask("personality", [0x40000n])]).toEqual(["allow", "errno 1"]);
  });

  it("answers 32-bit programs by their own numbers, and ABIs that it does not know with ENOSYS", () => {
    const ask = asker(defaultSeccompProfile);
    expect([ask("socketcall", [], "SCMP_ARCH_X86"), ask("mount", [], "SCMP_ARCH_X86")]).toEqual(["allow", "errno 1"]);
    const program = instructionsOf(defaultSeccompProfile, { architecture: "x64", capabilities: [] });
    expect(answer(program, { audit: 0x12345678, number: 0 })).toBe("errno 38");
  });
});

describe("own profiles", () => {
  const parse = (profile: object) => parseSeccompProfile(JSON.stringify(profile));
  const compare = (op: string, value: number, valueTwo = 0) =>
    asker(
      parse({
        defaultAction: "SCMP_ACT_ERRNO",
        syscalls: [{ names: ["dup2"], action: "SCMP_ACT_ALLOW", args: [{ index: 1, value, valueTwo, op }] }],
      }),
    );

  it.each<[op: string, value: number, passing: readonly bigint[], failing: readonly bigint[]]>([
    ["SCMP_CMP_EQ", 7, [7n], [6n, 8n, 0x100000007n]],
    ["SCMP_CMP_NE", 7, [6n, 0x100000007n], [7n]],
    ["SCMP_CMP_LT", 0x100000000, [0n, 0xffffffffn], [0x100000000n, 0x200000000n]],
    ["SCMP_CMP_LE", 0x100000000, [0n, 0x100000000n], [0x100000001n]],
    ["SCMP_CMP_GT", 0x100000000, [0x100000001n, 0x200000000n], [0x100000000n, 5n]],
    ["SCMP_CMP_GE", 0x100000000, [0x100000000n, 0x200000000n], [0xffffffffn]],
    ["SCMP_CMP_MASKED_EQ", 0x100000003, [4n, 0n], [1n, 0x100000000n]],
  ])("%s %d", (op, value, passing, failing) => {
    const ask = compare(op, value);
    expect(passing.map((arg) => ask("dup2", [0n, arg]))).toEqual(passing.map(() => "allow"));
    expect(failing.map((arg) => ask("dup2", [0n, arg]))).toEqual(failing.map(() => "errno 1"));
  });

  it.each<[profile: string, error: RegExp]>([
    ["{", /^profile: /],
    ["[]", /^profile: must be an object/],
    ["{}", /^defaultAction: undefined is not an action/],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}', /^syscalls\[0\]\.names: must name a system call/],
    ['{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":99999}', /^defaultErrnoRet: must be a whole number/],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":9,"op":"SCMP_CMP_EQ"}]}]}',
      /^syscalls\[0\]\.args\[0\]\.index: must be 0 to 5/,
    ],
  ])("refuses %s", (text, error) => expect(() => parseSeccompProfile(text)).toThrow(error));
});
