import { Control, ListNodesRequest, ListServicesRequest } from "@starling/api";
import type { Context } from "../context.ts";
import { idsAsNames, namesOf, type TaskNames } from "../format/tasks.ts";

/** Names of all services and nodes, for a display of tasks; ids with `--no-resolve`. */
export async function taskNames({ client, resolveNames }: Context): Promise<TaskNames> {
  if (!resolveNames) return idsAsNames;
  const [{ services }, { nodes }] = await Promise.all([
    client.call(Control.methods.listServices, ListServicesRequest.create()),
    client.call(Control.methods.listNodes, ListNodesRequest.create()),
  ]);
  return namesOf(services, nodes);
}
