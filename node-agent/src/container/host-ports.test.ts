import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Endpoint, PortConfig, PortConfig_Protocol, PortConfig_PublishMode, Task } from "@starling/api";
import { describe, expect, it } from "vitest";
import { checkHostPorts } from "./host-ports.ts";

const { TCP, UDP } = PortConfig_Protocol;
const publishing = (
  protocol: PortConfig_Protocol,
  publishedPort: number,
  publishMode: PortConfig_PublishMode = PortConfig_PublishMode.HOST,
) =>
  Task.create({
    endpoint: Endpoint.create({ ports: [PortConfig.create({ protocol, targetPort: 80, publishedPort, publishMode })] }),
  });

describe("host ports", () => {
  it("that a program listens on are refused by name, whatever address it has", async () => {
    const server = createServer().listen({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await expect(checkHostPorts(publishing(TCP, port))).rejects.toThrow(
      `host port ${port}/tcp is already in use by a program on this node`,
    );
    await checkHostPorts(publishing(UDP, port));
    await checkHostPorts(publishing(TCP, port, PortConfig_PublishMode.INGRESS));
    server.close();
    await once(server, "close");
    await checkHostPorts(publishing(TCP, port));
  });

  it("of UDP likewise", async () => {
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    await expect(checkHostPorts(publishing(UDP, port))).rejects.toThrow(`host port ${port}/udp is already in use`);
    socket.close();
  });

  it("that are to be chosen are free", async () => {
    await checkHostPorts(publishing(TCP, 0));
  });
});
