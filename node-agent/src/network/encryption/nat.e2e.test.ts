import {
  Annotations,
  Driver,
  Network,
  NetworkAttachment,
  NetworkSpec,
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateKey,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  networkKeysLabel,
  parseNetworkKeys,
  Task,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { NodeNetwork } from "../index.ts";
import { TestHosts } from "../test-hosts.ts";
import { tunnelDevice } from "./addresses.ts";

const secret = "secretaaaaaaaaaaaaaaaaaaa";
const nodeId = (name: string) => `${name}${process.pid.toString(36)}aaaaaaaaaaaaaaaa`;
const deviceOf = (name: string) => tunnelDevice(nodeId(name), 0);
const taskId = (name: string) => `task${name}aaaaaaaaaaaaaaaaaaaa`;

/** `open` is reached by all; `inner` sits behind a NAT, whose address is what managers know of it. */
const members = [
  { name: "open", netns: "h1", underlay: "192.168.77.1", task: "10.0.1.11" },
  { name: "inner", netns: "client", underlay: "192.168.77.254", task: "10.0.1.12" },
] as const;

const update = (item: Partial<NetworkStateChange>) =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

describe("an encrypted network with a node behind a NAT", () => {
  let hosts: TestHosts;
  const nodes = new Map<string, NodeNetwork>();
  const labels = new Map<string, string>();
  let sequence = 0;

  function complete(): NetworkStateMessage {
    const network = { id: secret, vni: 4097, name: "secret", subnets: ["10.0.1.0/24"], encrypted: true };
    return NetworkStateMessage.create({
      type: NetworkStateMessage_Type.COMPLETE,
      sequence: ++sequence,
      changes: [
        update({ network: NetworkStateNetwork.create(network) }),
        ...members.flatMap(({ name, underlay, task }) => {
          const keys = parseNetworkKeys(labels.get(name) ?? "").map(NetworkStateKey.create);
          const endpoint = {
            networkId: secret,
            taskId: taskId(name),
            nodeId: nodeId(name),
            address: task,
            serving: true,
          };
          return [
            update({ node: NetworkStateNode.create({ id: nodeId(name), underlayAddress: underlay, keys }) }),
            update({ endpoint: NetworkStateEndpoint.create(endpoint) }),
          ];
        }),
      ],
    });
  }
  const publish = () => Promise.all([...nodes.values()].map((node) => node.receive(complete())));

  beforeAll(async () => {
    hosts = new TestHosts(1);
    // New ports for what goes out, and nothing new comes in.
    hosts.run(
      "router",
      `nft 'table ip nat {
        chain out { type nat hook postrouting priority srcnat; oifname "br0" masquerade random
        }
        chain in { type filter hook forward priority 0; iifname "br0" ct state new drop
        }
      }'`,
    );
    for (const { name, netns } of members) {
      const options = { clock: systemClock, log: nullLogger, resolvConf: "", netns: hosts.path(netns) };
      const node = new NodeNetwork({ nodeId: nodeId(name), ...options });
      node.onLabels = () => {
        const told = node.labels[networkKeysLabel] ?? "";
        if (labels.get(name) === told) return;
        labels.set(name, told);
        void publish();
      };
      nodes.set(name, node);
    }
    await publish();
    const driverConfig = Driver.create({ name: "overlay", options: { encrypted: "" } });
    const spec = NetworkSpec.create({ annotations: Annotations.create({ name: "secret" }), driverConfig });
    for (const { name, task } of members) {
      hosts.add(`c-${name}`);
      const networks = [
        NetworkAttachment.create({ network: Network.create({ id: secret, spec }), addresses: [`${task}/24`] }),
      ];
      const netns = { path: hosts.path(`c-${name}`), pid: 0 };
      await nodes.get(name)!.attach(Task.create({ id: taskId(name), serviceId: "web", networks }), netns);
    }
  }, 60_000);

  afterAll(async () => {
    for (const node of nodes.values()) await node.close();
    hosts?.destroy();
  });

  it("joins its tasks with others both ways, by the port that the NAT gave it", async () => {
    await hosts.serve("c-open", 80);
    await hosts.serve("c-inner", 80);
    expect(() =>
      hosts.run("h1", "timeout 1 bash -c 'exec 3<>/dev/tcp/172.31.9.2/22' 2>&1 | grep -q refused"),
    ).toThrow();
    const answer = () => hosts.ask("c-open", "10.0.1.12", 80);
    // The first call is the inner side's: until then the other one knows no way.
    await vi.waitFor(() => expect(answer()).toBe("c-inner 10.0.1.11"), { timeout: 20_000, interval: 200 });
    expect(hosts.ask("c-inner", "10.0.1.11", 80)).toBe("c-open 10.0.1.12");
    const [endpoint] = hosts
      .run("h1", `wg show ${deviceOf("open")} endpoints`)
      .trim()
      .split("\t")
      .slice(-1);
    expect(endpoint).toMatch(/^192\.168\.77\.254:/);
    expect(endpoint).not.toBe("192.168.77.254:51840");
  });

  it("keeps the way open, and found, through looks at what should be there", async () => {
    expect(hosts.run("client", `wg show ${deviceOf("inner")} persistent-keepalive`)).toMatch(/\t25$/m);
    for (const node of nodes.values()) expect((await node.audit()).map(({ detail }) => detail)).toEqual([]);
    expect(hosts.ask("c-open", "10.0.1.12", 80)).toBe("c-inner 10.0.1.11");
  });
});
