// Written by scripts/abi.ts from TestFaucet.sol.
// biome-ignore format: one line for each entry
export const testFaucetAbi = [
  {"inputs":[{"name":"token","type":"address"},{"name":"amount","type":"uint256"}],"stateMutability":"nonpayable","type":"constructor"},
  {"inputs":[{"name":"balance","type":"uint256"},{"name":"amount","type":"uint256"}],"name":"Faucet_Empty","type":"error"},
  {"inputs":[{"name":"chainId","type":"uint256"}],"name":"Faucet_MainNetwork","type":"error"},
  {"inputs":[{"name":"to","type":"address"},{"name":"nextAt","type":"uint256"}],"name":"Faucet_TooEarly","type":"error"},
  {"inputs":[],"name":"Faucet_ZeroAmount","type":"error"},
  {"inputs":[{"name":"token","type":"address"}],"name":"SafeERC20FailedOperation","type":"error"},
  {"anonymous":false,"inputs":[{"indexed":true,"name":"to","type":"address"},{"indexed":false,"name":"amount","type":"uint256"},{"indexed":false,"name":"nextAt","type":"uint256"}],"name":"Dripped","type":"event"},
  {"inputs":[],"name":"AMOUNT","outputs":[{"name":"","type":"uint256"}],"stateMutability":"view","type":"function"},
  {"inputs":[],"name":"TOKEN","outputs":[{"name":"","type":"address"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"to","type":"address"}],"name":"drip","outputs":[],"stateMutability":"nonpayable","type":"function"},
  {"inputs":[{"name":"account","type":"address"}],"name":"nextDripAt","outputs":[{"name":"","type":"uint256"}],"stateMutability":"view","type":"function"},
] as const;
