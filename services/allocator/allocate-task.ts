/** Pure: no clock, no I/O, no randomness. */
import {
  type Endpoint,
  NetworkAttachment,
  type NetworkAttachmentConfig,
  needsIngressNetwork,
  type Service,
  sameValue,
  type Task,
  TaskState,
} from "@starling/api";
import { isNodeLocal, type Networks } from "./allocate-service.ts";
import { isRefusal, type Ledger, type Refusal } from "./ledger.ts";

/** Whether the allocator has something to do for the task. */
export const isWaitingTask = (task: Task): boolean =>
  task.status.state === TaskState.NEW && task.desiredState <= TaskState.COMPLETE;

/**
 * The task with an address (of each family) on each of its networks (ingress first, as its service publishes there) and its service's
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
    for (const { network, addresses } of attachments)
      for (const address of addresses) ledger.freeAddress(network!.id, address);
    return refusal;
  };
  if (service !== undefined && needsIngressNetwork(service.spec) && networks.ingress !== undefined) {
    const addresses = ledger.takeAddresses(networks.ingress);
    if (isRefusal(addresses)) return refuse(addresses);
    attachments.push(NetworkAttachment.create({ network: networks.ingress, addresses }));
  }
  for (const config of configsOf(task, service)) {
    const network = networks.get(config.target);
    if (network === undefined) return refuse({ refused: `network ${config.target} not found` });
    const { aliases, driverAttachmentOpts } = config;
    const addresses = isNodeLocal(network) ? [] : ledger.takeAddresses(network, config.addresses);
    if (isRefusal(addresses)) return refuse(addresses);
    attachments.push(NetworkAttachment.create({ network, addresses, aliases, driverAttachmentOpts }));
  }
  return {
    ...task,
    networks: attachments.length === 0 && task.networks.length === 0 ? task.networks : attachments,
    endpoint: endpointOf(task, service),
  };
}

/** The service's own object where it can be: many tasks share it then. */
function endpointOf({ endpoint }: Task, service: Service | undefined): Endpoint | undefined {
  if (service?.endpoint === undefined) return endpoint;
  return sameValue(service.endpoint.spec, endpoint?.spec)
    ? service.endpoint
    : { ...service.endpoint, spec: endpoint?.spec };
}

/** The networks that the task names, each once; older specs have them at the service. */
function configsOf(task: Task, service: Service | undefined): readonly NetworkAttachmentConfig[] {
  const named = task.spec.networks.length > 0 ? task.spec.networks : (service?.spec.networks ?? []);
  if (named.length < 2) return named;
  const byTarget = new Map(named.map((config) => [config.target, config]));
  return [...byTarget.values()];
}
