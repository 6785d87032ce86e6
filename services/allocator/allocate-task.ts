/** Pure: no clock, no I/O, no randomness. */
import {
  NetworkAttachment,
  type NetworkAttachmentConfig,
  needsIngressNetwork,
  type Service,
  type Task,
  TaskState,
} from "@starling/api";
import type { Networks } from "./allocate-service.ts";
import type { Ledger, Refusal } from "./ledger.ts";

/** Whether the allocator has something to do for the task. */
export const isWaitingTask = (task: Task): boolean =>
  task.status.state === TaskState.NEW && task.desiredState <= TaskState.COMPLETE;

/**
 * The task with an address on each of its networks (ingress first, as its service publishes there) and its service's
 * endpoint, noted in the ledger. On refusal the ledger is as before. Pure.
 */
export function allocateTask(
  task: Task,
  service: Service | undefined,
  networks: Networks,
  ledger: Ledger,
): Task | Refusal {
  const attachments: NetworkAttachment[] = [];
  const refuse = (refusal: Refusal): Refusal => {
    for (const { network, addresses } of attachments) ledger.freeAddress(network!.id, addresses[0]!);
    return refusal;
  };
  if (service !== undefined && needsIngressNetwork(service.spec) && networks.ingress !== undefined) {
    const address = ledger.takeAddress(networks.ingress);
    if (typeof address !== "string") return refuse(address);
    attachments.push(NetworkAttachment.create({ network: networks.ingress, addresses: [address] }));
  }
  for (const config of configsOf(task, service)) {
    const network = networks.get(config.target);
    if (network === undefined) return refuse({ refused: `network ${config.target} not found` });
    const address = ledger.takeAddress(network, config.addresses[0]);
    if (typeof address !== "string") return refuse(address);
    const { aliases, driverAttachmentOpts } = config;
    attachments.push(NetworkAttachment.create({ network, addresses: [address], aliases, driverAttachmentOpts }));
  }
  const endpoint = service?.endpoint === undefined ? task.endpoint : { ...service.endpoint, spec: task.endpoint?.spec };
  return { ...task, networks: attachments, endpoint };
}

/** The networks that the task names, each once; older specs have them at the service. */
function configsOf(task: Task, service: Service | undefined): readonly NetworkAttachmentConfig[] {
  const named = task.spec.networks.length > 0 ? task.spec.networks : (service?.spec.networks ?? []);
  const byTarget = new Map(named.map((config) => [config.target, config]));
  return [...byTarget.values()];
}
