import { type ConntrackStep, runSteps } from "@starling/native/net";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { TestHosts } from "./test-hosts.ts";

let hosts: TestHosts;
beforeAll(() => {
  hosts = new TestHosts(1);
}, 30_000);
afterAll(() => hosts?.destroy());

const protocols = {
  udp: "udp",
  tcp: "tcp --state ESTABLISHED",
  "ended tcp": "tcp --state TIME_WAIT",
} as const;

/** A connection to a virtual IP that was translated to an address which ends in `task`. */
function insert(family: 4 | 6, name: keyof typeof protocols, task: number): string {
  const of = (last: number) => (family === 4 ? `10.0.1.${last}` : `fd01::${last}`);
  const port = 1000 + Object.keys(protocols).indexOf(name);
  const ports = `--sport ${port} --dport 80 --reply-port-src 80 --reply-port-dst ${port}`;
  return `conntrack -I -p ${protocols[name]} -s ${of(1)} -d ${of(2)} -r ${of(task)} -q ${of(1)} ${ports} -t 300 2>&1`;
}

beforeEach(() => {
  const all = ([4, 6] as const).flatMap((family) =>
    (Object.keys(protocols) as (keyof typeof protocols)[]).flatMap((name, at) =>
      // Of each protocol two tasks' connections: virtual IPs and ports alone tell connections apart.
      [5, 6].map((task) => insert(family, name, task).replaceAll(` ${1000 + at}`, ` ${1000 + at * 10 + task}`)),
    ),
  );
  hosts.run("h1", ["conntrack -F 2>&1", ...all].join("\n"));
});

/** What is tracked after the step: protocol and the task's address each. */
async function leftAfter(step: Omit<ConntrackStep, "type">): Promise<readonly string[]> {
  await runSteps(hosts.path("h1"), [{ type: "conntrack", ...step }]);
  const lines = hosts.run("h1", "conntrack -L 2>/dev/null").trim().split("\n");
  const left = lines.flatMap((line) => {
    const [, protocol] = /^(\w+)/.exec(line) ?? [];
    const [, address] = /src=.* src=(\S+)/.exec(line) ?? [];
    return address === undefined ? [] : `${line.includes("TIME_WAIT") ? "ended " : ""}${protocol} ${address}`;
  });
  return left.sort();
}

const entries = (...addresses: string[]) =>
  addresses.flatMap((address) => Object.keys(protocols).map((name) => `${name} ${address}`));
const everything = entries("10.0.1.5", "10.0.1.6", "fd01::5", "fd01::6");
const without = (...gone: string[]) => everything.filter((entry) => !gone.includes(entry)).sort();

it.each([
  ["an address, of one protocol", { subnets: ["10.0.1.5/32"], live: [], protocols: [17] }, ["udp 10.0.1.5"]],
  ["an address, of some protocols", { subnets: ["fd01::6/128"], live: [], protocols: [17, 132] }, ["udp fd01::6"]],
  [
    "an address and no other, whatever the protocol",
    { subnets: ["10.0.1.6/32", "10.0.1.77/32"], live: [], protocols: [] },
    entries("10.0.1.6"),
  ],
  [
    "an IPv6 address and no other; TCP that has ended stays",
    { subnets: ["fd01::5/128", "10.0.1.77/32"], live: [], protocols: [] },
    ["udp fd01::5", "tcp fd01::5"],
  ],
  [
    "more addresses than the kernel is asked about; TCP that has ended stays",
    { subnets: Array.from({ length: 9 }, (_each, n) => `10.0.1.${6 + n}/32`), live: [], protocols: [] },
    ["udp 10.0.1.6", "tcp 10.0.1.6"],
  ],
  [
    "prefixes but for addresses that live; TCP that has ended stays",
    { subnets: ["10.0.1.0/24", "fd01::/64"], live: ["10.0.1.5", "fd01::6"], protocols: [6] },
    ["tcp 10.0.1.6", "tcp fd01::5"],
  ],
  ["nothing", { subnets: [], live: [], protocols: [] }, []],
])("forgets connections that lead to %s", async (_, step, gone) => {
  expect(await leftAfter(step)).toEqual(without(...gone));
});
