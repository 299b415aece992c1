// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {OperatorRegistry} from "../../../contracts/payments/OperatorRegistry.sol";
import {PaymentChannels} from "../../../contracts/payments/PaymentChannels.sol";
import {AdapterRegistry} from "../../../contracts/registries/AdapterRegistry.sol";
import {AgentParts, AgentRegistry} from "../../../contracts/registries/AgentRegistry.sol";
import {DataNetRegistry} from "../../../contracts/registries/DataNetRegistry.sol";
import {AdapterVersion, LineageEntry} from "../../../contracts/registries/IAdapterRegistry.sol";
import {IdAllocator} from "../../../contracts/registries/IdAllocator.sol";
import {Payee} from "../../../contracts/registries/PayeesLib.sol";
import {PromptRegistry} from "../../../contracts/registries/PromptRegistry.sol";
import {ToolRegistry} from "../../../contracts/registries/ToolRegistry.sol";
import {AttributionSettlement} from "../../../contracts/settlement/AttributionSettlement.sol";
import {InitialParameters, ProtocolParameters} from "../../../contracts/settlement/ProtocolParameters.sol";
import {ReceiptVerifier} from "../../../contracts/settlement/ReceiptVerifier.sol";
import {Windows} from "../../../contracts/settlement/Windows.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {EarnerClaim} from "../../../contracts/settlement/types/EarnerClaim.sol";
import {State} from "../../../contracts/settlement/types/State.sol";
import {IOpenToken} from "../../../contracts/token/IOpenToken.sol";
import {OpenToken} from "../../../contracts/token/OpenToken.sol";
import {TestBase} from "../TestBase.sol";
import {ProtocolHarness} from "../harness/ProtocolHarness.sol";
import {ReferenceTree} from "./ReferenceTree.sol";

/// @notice All contracts, one operator with a bond, one channel, and an agent that uses every class.
abstract contract SettlementFixture is TestBase {
    uint40 internal constant START = 1_900_000_000;
    uint256 internal constant BOND = 1_000 ether;
    uint256 internal constant MINIMUM_BOND = 100 ether;
    uint128 internal constant DEPOSIT = 500 ether;
    uint256 internal constant SESSION_KEY = 0x5E5510;

    address internal constant SIGNER = address(0x5161);
    address internal constant OPERATOR_OWNER = address(0x0987);
    address internal constant TREASURY = address(0x7EA5);
    address internal constant CREATOR = address(0xC4EA);
    address internal constant WATCHER = address(0x3A7C);

    uint32 internal constant OPERATOR = 1;
    uint32 internal constant CHANNEL = 1;
    uint32 internal constant DATA_NET = 1;
    uint32 internal constant CONTRIBUTION = 2;
    uint32 internal constant ADAPTER = 4;
    uint32 internal constant PROMPT = 5;
    uint32 internal constant TOOL = 6;
    uint32 internal constant AGENT = 7;
    /// @dev Contributed, but not accepted.
    uint32 internal constant LATE = 8;

    /// @dev The time, for the optimiser takes `block.timestamp` for a constant within a test.
    uint40 internal clock;

    OpenToken internal token;
    ProtocolParameters internal parameters;
    IdAllocator internal allocator;
    DataNetRegistry internal dataNets;
    AdapterRegistry internal adapters;
    PromptRegistry internal prompts;
    ToolRegistry internal tools;
    AgentRegistry internal agents;
    OperatorRegistry internal operators;
    PaymentChannels internal channels;
    ReceiptVerifier internal verifier;
    AttributionSettlement internal settlement;
    ProtocolHarness internal harness;

    function windows() internal pure returns (Windows memory) {
        return
            Windows({
                voucherLife: 1 hours,
                posting: 24 hours,
                challenge: 24 hours,
                reveal: 12 hours,
                check: 12 hours,
                collect: 24 hours,
                thaw: 5 days,
                unbonding: 5 days
            });
    }

    function setUp() public virtual {
        warpTo(START);
        vm.fee(1 gwei);
        token = new OpenToken(address(this));
        parameters = new ProtocolParameters(
            address(this),
            InitialParameters({
                protocolSharePpm: 20_000,
                minimumBond: uint128(MINIMUM_BOND),
                demandFee: 0.001 ether,
                treasury: TREASURY
            }),
            windows()
        );
        _deployRegistries();
        operators = new OperatorRegistry(IOpenToken(address(token)), windows());
        channels = new PaymentChannels(IOpenToken(address(token)), operators, windows());
        verifier = new ReceiptVerifier(agents, adapters, dataNets, channels, parameters, windows());
        settlement = new AttributionSettlement(
            token,
            allocator,
            operators,
            address(channels),
            parameters,
            verifier,
            windows()
        );
        operators.wire(address(settlement));
        channels.wire(address(settlement));
        harness = new ProtocolHarness();
        _registerAll();
        pass(1 days);
    }

    function warpTo(uint256 time) internal {
        clock = uint40(time);
        vm.warp(time);
    }

    function pass(uint256 duration) internal {
        warpTo(clock + duration);
    }

    function _deployRegistries() private {
        allocator = new IdAllocator();
        dataNets = new DataNetRegistry(allocator);
        adapters = new AdapterRegistry(allocator, dataNets);
        prompts = new PromptRegistry(allocator);
        tools = new ToolRegistry(allocator);
        agents = new AgentRegistry(allocator, AgentParts(dataNets, adapters, prompts, tools));
        address[] memory registries = new address[](5);
        registries[0] = address(dataNets);
        registries[1] = address(adapters);
        registries[2] = address(prompts);
        registries[3] = address(tools);
        registries[4] = address(agents);
        allocator.wire(registries);
    }

    function _registerAll() private {
        vm.prank(OPERATOR_OWNER);
        operators.register("https://operator.example", SIGNER);
        token.approve(address(operators), BOND);
        operators.depositBond(OPERATOR, BOND);
        token.approve(address(channels), DEPOSIT);
        channels.open(OPERATOR, vm.addr(SESSION_KEY), DEPOSIT);

        Payee[] memory ownerAlone = new Payee[](0);
        bytes32 content = keccak256("content");
        vm.startPrank(CREATOR);
        dataNets.createDataNet("net", content, "", "MIT", ownerAlone);
        uint32[] memory contributions = new uint32[](2);
        for (uint32 i; i < 2; ++i) {
            contributions[i] = dataNets.submit(DATA_NET, content, "", "MIT", 1, 1, ownerAlone);
        }
        dataNets.accept(contributions);
        dataNets.publishVersion(DATA_NET);
        LineageEntry[] memory lineage = new LineageEntry[](1);
        lineage[0] = LineageEntry(DATA_NET, 1);
        adapters.register("a", AdapterVersion(content, content, 8, "q_proj", lineage), "", "MIT", ownerAlone);
        prompts.register("p", content, new string[](0), "", "MIT", ownerAlone);
        tools.register("t", content, "https://tool.example", "", "MIT", ownerAlone);
        agents.create("agent", content, "", "MIT", ownerAlone);
        agents.publishVersion(AGENT, composition());
        dataNets.submit(DATA_NET, content, "", "MIT", 1, 1, ownerAlone);
        vm.stopPrank();
    }

    /// @dev Uses every class once: 10 wei a job, 2 a prompt token, 3 a completion token.
    function composition() internal pure returns (bytes memory) {
        return
            abi.encodePacked(
                uint8(1),
                keccak256("base model"),
                uint96(10),
                uint64(2),
                uint64(3),
                abi.encodePacked(
                    uint32(300_000),
                    uint32(100_000),
                    uint32(150_000),
                    uint32(50_000),
                    uint32(200_000),
                    uint32(150_000),
                    uint32(50_000)
                ),
                hex"0000000000010101",
                abi.encodePacked(PROMPT, uint32(1)),
                abi.encodePacked(ADAPTER, uint32(1), uint32(1_000_000), uint32(1_000_000)),
                abi.encodePacked(DATA_NET, uint32(1), TOOL, uint32(1))
            );
    }

    /// @dev The next header on the operator's chain, with one receipt that nobody knows.
    function nextHeader(State memory state) internal view returns (BatchHeader memory header) {
        uint64 tip = settlement.chainOf(OPERATOR).tip;
        return
            BatchHeader({
                operator: OPERATOR,
                sequence: settlement.chainOf(OPERATOR).sequence + 1,
                height: tip + 1,
                parentHash: tip == 0 ? bytes32(0) : settlement.batchAt(OPERATOR, tip).headerHash,
                registryTime: clock,
                count: 1,
                receiptsRoot: keccak256(abi.encode("receipts", tip)),
                dataHash: keccak256("data"),
                state: state
            });
    }

    function nextHeader() internal view returns (BatchHeader memory) {
        uint64 tip = settlement.chainOf(OPERATOR).tip;
        State memory state;
        state.totalSpent = tip == 0 ? 0 : settlement.batchAt(OPERATOR, tip).totalSpent;
        return nextHeader(state);
    }

    function submit(BatchHeader memory header) internal {
        vm.prank(SIGNER);
        settlement.submitBatch(header);
    }

    function submitNext() internal returns (BatchHeader memory header) {
        header = nextHeader();
        submit(header);
    }

    /// @dev Posts a batch and lets it become final.
    function finalizeNext(State memory state) internal returns (BatchHeader memory header) {
        header = nextHeader(state);
        submit(header);
        pass(windows().challenge + 1);
        settlement.finalize(OPERATOR, header.height);
    }

    /// @dev Says that payers paid `amount` into the operator's pool.
    function fundPool(uint32 operator, uint256 amount) internal {
        token.transfer(address(settlement), amount);
        vm.prank(address(channels));
        settlement.creditPool(operator, amount);
    }

    /// @dev The root of the earners' tree.
    function earnersRoot(uint32[] memory ids, uint128[] memory earned) internal pure returns (bytes32) {
        return ReferenceTree.root(ids, _earnerLeaves(ids, earned));
    }

    /// @dev A claim for all of the earners, each the owner alone.
    function claimOf(
        BatchHeader memory header,
        uint32[] memory ids,
        uint128[] memory earned
    ) internal pure returns (EarnerClaim memory) {
        return claimOf(header, ids, earned, ids, earned);
    }

    /// @dev A claim for some of the earners.
    function claimOf(
        BatchHeader memory header,
        uint32[] memory allIds,
        uint128[] memory allEarned,
        uint32[] memory ids,
        uint128[] memory earned
    ) internal pure returns (EarnerClaim memory) {
        ReferenceTree.Proof memory proof = ReferenceTree.prove(allIds, _earnerLeaves(allIds, allEarned), ids);
        return
            EarnerClaim({
                header: header,
                ids: ids,
                earned: earned,
                siblings: proof.siblings,
                bitmap: proof.bitmap,
                payees: new Payee[][](ids.length)
            });
    }

    function _earnerLeaves(
        uint32[] memory ids,
        uint128[] memory earned
    ) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](ids.length);
        for (uint256 i; i < ids.length; ++i) leaves[i] = Hashes.earnerLeaf(ids[i], earned[i]);
    }
}
