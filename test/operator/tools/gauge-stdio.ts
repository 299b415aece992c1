import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { gauge } from "./gauge-server.ts";

await gauge().connect(new StdioServerTransport());
