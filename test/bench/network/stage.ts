import { spawnSync } from "node:child_process";
import { rmdirSync } from "node:fs";
import {
  Annotations,
  Network,
  NetworkAttachment,
  NetworkSpec,
  NetworkStateChange,
  NetworkStateChange_Action,
  NetworkStateEndpoint,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStateService,
  NetworkStateServiceNetwork,
  Task,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { NodeNetwork } from "@starling/node-agent";
import { makeCgroup, TestHosts } from "../../../node-agent/src/network/test-hosts.ts";

export const network = "benchaaaaaaaaaaaaaaaaaaaa";
export const taskId = (n: number): string => `t${String(n).padStart(24, "0")}`.split("").reverse().join("");

export const update = (item: Partial<NetworkStateChange>): NetworkStateChange =>
  NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...item });

/** Address of the `n`-th task, and of the `n`-th service's virtual IP. */
export const addressOf = (n: number): string => `10.0.${128 + (n >> 8)}.${n & 255}`;
export const virtualIpOf = (n: number): string => `10.0.${n >> 8}.${n & 255}`;

export const endpoint = (
  n: number,
  options: { service: string; node: number; serving?: boolean },
): NetworkStateChange =>
  update({
    endpoint: NetworkStateEndpoint.create({
      networkId: network,
      taskId: taskId(n),
      serviceId: options.service,
      nodeId: `node${options.node}`,
      address: addressOf(n),
      serving: options.serving ?? true,
      names: [`${options.service}.${n}`],
    }),
  });

export const service = (id: string, n: number): NetworkStateChange => {
  const networks = [NetworkStateServiceNetwork.create({ networkId: network, virtualIp: virtualIpOf(n) })];
  return update({ service: NetworkStateService.create({ id, name: id, networks }) });
};

export const incremental = (sequence: number, changes: readonly NetworkStateChange[]): NetworkStateMessage =>
  NetworkStateMessage.create({ type: NetworkStateMessage_Type.INCREMENTAL, sequence, changes });

/** Two hosts, the network between them, and `further` items. */
export function complete(further: readonly NetworkStateChange[]): NetworkStateMessage {
  return NetworkStateMessage.create({
    type: NetworkStateMessage_Type.COMPLETE,
    sequence: 1,
    changes: [
      update({
        network: NetworkStateNetwork.create({ id: network, name: "bench", vni: 4097, subnets: ["10.0.0.0/16"] }),
      }),
      ...[1, 2].map((n) =>
        update({ node: NetworkStateNode.create({ id: `node${n}`, underlayAddress: `192.168.77.${n}` }) }),
      ),
      ...further,
    ],
  });
}

/** A task with one overlay network and a way out. */
export const task = (n: number): Task =>
  Task.create({
    id: taskId(n),
    networks: [
      NetworkAttachment.create({
        network: Network.create({
          id: network,
          spec: NetworkSpec.create({ annotations: Annotations.create({ name: "bench" }) }),
        }),
        addresses: [`${addressOf(n)}/16`],
      }),
    ],
  });

/** Runs `measure` with hosts h1 and h2, the node part of the network on each, and h3 and h4, which have none; leaves nothing behind. */
export async function withHosts<T>(
  further: readonly NetworkStateChange[],
  measure: (hosts: TestHosts, nodes: readonly NodeNetwork[]) => Promise<T>,
): Promise<T> {
  const hosts = new TestHosts(4);
  const cgroup = makeCgroup();
  const nodes = [1, 2].map(
    (n) =>
      new NodeNetwork({
        nodeId: `node${n}`,
        clock: systemClock,
        log: nullLogger,
        resolvConf: "",
        netns: hosts.path(`h${n}`),
        cgroup,
      }),
  );
  try {
    for (const node of nodes) await node.receive(complete(further));
    return await measure(hosts, nodes);
  } finally {
    for (const node of nodes) await node.close();
    hosts.destroy();
    rmdirSync(cgroup);
  }
}

/** Throws with what the program said when it fails. */
export function mustRun(hosts: TestHosts, namespace: string, command: readonly string[]): string {
  const enter = [`--net=${hosts.path(namespace)}`, ...command];
  const { status, stdout, stderr } = spawnSync("nsenter", enter, { encoding: "utf8", timeout: 60_000 });
  if (status === 0) return stdout;
  throw new Error(`${command.join(" ")}: exit status ${status}: ${stderr || stdout}`);
}
