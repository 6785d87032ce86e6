/**
 * Runs in a manager's host: for each line on standard input prints all tasks, services and nodes of the store as one line of
 * JSON, as `swarmctl inspect` has them. One open connection: starting a command line for each would be most of a look's time.
 */
import { createInterface } from "node:readline";
import { credentials } from "@grpc/grpc-js";
import {
  Control,
  ListNodesRequest,
  ListServicesRequest,
  ListTasksRequest,
  type MessageCodec,
  Node,
  Service,
  Task,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { messageToJson } from "../../services/swarmctl/format/json.ts";

const client = new RpcClient("unix:/run/swarmd.sock", credentials.createInsecure());
const { methods } = Control;
const json = <T extends object>(codec: MessageCodec<T>, objects: readonly T[]) =>
  objects.map((object) => messageToJson(codec, object));

for await (const _ of createInterface({ input: process.stdin })) {
  const [{ tasks }, { services }, { nodes }] = await Promise.all([
    client.call(methods.listTasks, ListTasksRequest.create({})),
    client.call(methods.listServices, ListServicesRequest.create({})),
    client.call(methods.listNodes, ListNodesRequest.create({})),
  ]);
  console.log(
    JSON.stringify({ tasks: json(Task, tasks), services: json(Service, services), nodes: json(Node, nodes) }),
  );
}
client.close();
