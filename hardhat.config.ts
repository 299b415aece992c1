import { createRequire } from "node:module";
import hardhatEthers from "@nomicfoundation/hardhat-ethers";
import hardhatToolboxViem from "@nomicfoundation/hardhat-toolbox-viem";
import { configVariable, defineConfig } from "hardhat/config";

// The compiler comes from npm (WebAssembly), so building needs no download beyond the package registry.
const solcPath = createRequire(import.meta.url).resolve("solc/soljson.js");

const remote = (name: string, chainType: "l1" | "op" | "generic" = "l1") => ({
  type: "http" as const,
  chainType,
  url: configVariable(`${name}_RPC_URL`),
  accounts: [configVariable("DEPLOYER_PRIVATE_KEY")],
});

export default defineConfig({
  plugins: [hardhatToolboxViem, hardhatEthers],
  paths: {
    sources: "./contracts",
    tests: { solidity: "./test/contracts", nodejs: "./test" },
    ignition: "./deploy",
    artifacts: "./artifacts",
    cache: "./cache",
  },
  solidity: {
    profiles: {
      default: {
        version: "0.8.37",
        path: solcPath,
        settings: {
          viaIR: true,
          optimizer: { enabled: true, runs: 200 },
          // The newest instruction set that every target network runs.
          evmVersion: "cancun",
        },
      },
    },
  },
  test: { solidity: { fuzz: { runs: 256 }, invariant: { runs: 32, depth: 64 } } },
  networks: {
    local: { type: "edr-simulated", chainType: "l1" },
    sepolia: remote("SEPOLIA"),
    baseSepolia: remote("BASE_SEPOLIA", "op"),
    opSepolia: remote("OP_SEPOLIA", "op"),
    arbitrumSepolia: remote("ARBITRUM_SEPOLIA", "generic"),
    openledgerTestnet: remote("OPENLEDGER_TESTNET", "op"),
    openledger: remote("OPENLEDGER", "op"),
    // A node on this machine: `npx hardhat node --hostname 127.0.0.1`.
    localhost: { type: "http", chainType: "l1", url: process.env.LOCALHOST_RPC_URL ?? "http://127.0.0.1:8545" },
  },
});
