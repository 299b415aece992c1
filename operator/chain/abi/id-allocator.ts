// Written by scripts/abi.ts from IdAllocator.sol.
// biome-ignore format: one line for each entry
export const idAllocatorAbi = [
  {"inputs":[],"stateMutability":"nonpayable","type":"constructor"},
  {"inputs":[],"name":"IdAllocator_AlreadySealed","type":"error"},
  {"inputs":[{"name":"registry","type":"address"}],"name":"IdAllocator_InvalidRegistry","type":"error"},
  {"inputs":[{"name":"caller","type":"address"}],"name":"IdAllocator_NotDeployer","type":"error"},
  {"inputs":[{"name":"caller","type":"address"}],"name":"IdAllocator_NotRegistry","type":"error"},
  {"inputs":[{"name":"count","type":"uint256"}],"name":"IdAllocator_RegistryCount","type":"error"},
  {"anonymous":false,"inputs":[{"indexed":false,"name":"registries","type":"address[]"}],"name":"Sealed","type":"event"},
  {"inputs":[],"name":"allocate","outputs":[{"name":"id","type":"uint32"}],"stateMutability":"nonpayable","type":"function"},
  {"inputs":[],"name":"lastId","outputs":[{"name":"","type":"uint32"}],"stateMutability":"view","type":"function"},
  {"inputs":[],"name":"registries","outputs":[{"name":"","type":"address[]"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"id","type":"uint32"}],"name":"registryOf","outputs":[{"name":"","type":"address"}],"stateMutability":"view","type":"function"},
  {"inputs":[{"name":"registries_","type":"address[]"}],"name":"wire","outputs":[],"stateMutability":"nonpayable","type":"function"},
] as const;
