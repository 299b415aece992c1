// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Payee} from "../../../contracts/registries/PayeesLib.sol";
import {AttributionSettlement} from "../../../contracts/settlement/AttributionSettlement.sol";
import {IChunkDemands} from "../../../contracts/settlement/IChunkDemands.sol";
import {IReceiptVerifier} from "../../../contracts/settlement/IReceiptVerifier.sol";
import {BatchTree} from "../../../contracts/settlement/libraries/BatchTree.sol";
import {Hashes} from "../../../contracts/settlement/libraries/Hashes.sol";
import {SparseMultiproof} from "../../../contracts/settlement/libraries/SparseMultiproof.sol";
import {VoucherHash} from "../../../contracts/settlement/libraries/VoucherHash.sol";
import {BatchHeader} from "../../../contracts/settlement/types/BatchHeader.sol";
import {EarnerClaim} from "../../../contracts/settlement/types/EarnerClaim.sol";
import {FraudProof} from "../../../contracts/settlement/types/FraudProof.sol";
import {RevealedReceipt} from "../../../contracts/settlement/types/RevealedReceipt.sol";
import {State} from "../../../contracts/settlement/types/State.sol";
import {Verdict} from "../../../contracts/settlement/types/Verdict.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";
import {ReentrantToken} from "../payments/ReentrantToken.sol";
import {FraudProofSuite} from "../settlement/FraudProofSuite.sol";

/// @notice Comes back for its coins while it is being paid.
contract GreedyAccount {
    bytes public answer;

    function demand(IChunkDemands settlement, BatchHeader calldata header) external payable {
        settlement.demandChunk{value: msg.value}(header, 0);
    }

    receive() external payable {
        (, answer) = msg.sender.call(abi.encodeCall(IChunkDemands.withdrawCoins, (address(this))));
    }
}

/// @notice Attacks that no rule's own tests make, see docs/security.md.
abstract contract AttacksSuite is FraudProofSuite {
    uint40 private constant _SETTLING = 72 hours;

    /* ----------------------------------------------- replay and preimages ----------------------------------------------- */

    function test_AVoucherIsWorthNothingElsewhere() public {
        Voucher memory voucher = _voucher();
        bytes memory signature = _signed(voucher);

        // At another operator.
        operators.register("https://other.example", WATCHER);
        FraudProof memory proof = _proofFor(_body(voucher, signature, _entries()));
        proof.header.operator = 2;
        _expectVerdict(proof, Verdict.UnknownChannel);

        // On another channel of the same key with the same operator.
        channels.open(OPERATOR, vm.addr(SESSION_KEY), 0);
        voucher.channel = 2;
        _expectVerdict(_proofFor(_body(voucher, signature, _entries())), Verdict.BadSignature);
        voucher.channel = CHANNEL;

        // Signed for another contract on this chain.
        bytes32 digest = VoucherHash.digest(VoucherHash.domainSeparator(address(settlement)), voucher);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SESSION_KEY, digest);
        _expectVerdict(_proofFor(_body(voucher, abi.encodePacked(r, s, v), _entries())), Verdict.BadSignature);
    }

    function test_ASessionKeyThatDelegatesToCodeIsJudgedByItsSignatureAlone() public {
        vm.etch(vm.addr(SESSION_KEY), abi.encodePacked(hex"ef0100", address(settlement)));
        _expectVerdict(_honest(), Verdict.Valid);
    }

    function test_NoNodeIsTakenForALeafNorALeafForANode() public {
        FraudProof memory proof = _honest();
        bytes32 leaf = proof.header.receiptsRoot;
        proof.header.count = 4;
        proof.header.receiptsRoot = Hashes.node(Hashes.node(leaf, leaf), Hashes.node(leaf, leaf));
        submit(proof.header);
        // A node, as if it were a leaf: one level too few.
        proof.receipt.proof = new bytes32[](1);
        proof.receipt.proof[0] = Hashes.node(leaf, leaf);
        vm.expectRevert(abi.encodeWithSelector(BatchTree.BatchTree_PathLength.selector, 1, 2));
        settlement.proveFraud(proof);
        // An empty place where there is none.
        proof.vacant = true;
        proof.receipt.proof = new bytes32[](2);
        (proof.receipt.proof[0], proof.receipt.proof[1]) = (leaf, Hashes.node(leaf, leaf));
        vm.expectPartialRevert(IReceiptVerifier.Verifier_WitnessMismatch.selector);
        settlement.proveFraud(proof);

        // The same in the earners' tree: its walk is 32 levels long, whatever the proof says.
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(1 ether);
        State memory state;
        state.earnersRoot = Hashes.earnerLeaf(ids[0], earned[0]);
        state.totalSpent = 1 ether;
        BatchHeader memory header = nextHeader(state);
        submit(header);
        pass(1 days + 1);
        settlement.finalize(OPERATOR, header.height);
        EarnerClaim memory request = claimOf(header, ids, earned);
        request.bitmap = "";
        vm.expectPartialRevert(SparseMultiproof.SparseMultiproof_UnusedWitness.selector);
        settlement.claim(request);
    }

    function test_ABodyThatIsTooLargeToBringFallsByItsLengthOrByADemand() public {
        // Its leaf says so: the leaf is proof enough.
        FraudProof memory proof = _honest();
        proof.body = new bytes(60_000);
        _commit(proof);
        submit(proof.header);
        proof.body = "";
        assertTrue(settlement.proveFraud(proof) == Verdict.OversizedBody, "verdict");
        token.approve(address(operators), BOND);
        operators.depositBond(OPERATOR, BOND);

        // Its leaf lies about it: nobody can reveal it.
        proof = _honest();
        proof.body = new bytes(60_000);
        _commit(proof);
        proof.receipt.length = 300;
        bytes32 bodyHash = proof.receipt.bodyHash;
        proof.header.receiptsRoot = Hashes.receiptLeaf(0, 300, proof.receipt.stateRoot, bodyHash);
        submit(proof.header);
        uint256 price = settlement.demandPrice();
        vm.deal(WATCHER, price);
        vm.prank(WATCHER);
        settlement.demandChunk{value: price}(proof.header, 0);
        RevealedReceipt[] memory receipts = new RevealedReceipt[](1);
        receipts[0] = RevealedReceipt(300, proof.receipt.stateRoot, proof.body);
        vm.expectRevert(abi.encodeWithSelector(IChunkDemands.Settlement_BodyTooLong.selector, 0, 60_000));
        settlement.revealChunk(proof.header, 0, receipts, new bytes32[](0));
        pass(windows().reveal + 1);
        settlement.proveWithheld(proof.header, 0);
        assertEq(settlement.chainOf(OPERATOR).tip, 0, "tip");
    }

    /* ---------------------------------------------- the bond and the deposit --------------------------------------------- */

    function test_ABondIsNotDrawnOutInFrontOfAProof() public {
        // An accomplice has earned more than the bond, by a channel that was never collected.
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(uint128(BOND));
        State memory state;
        (state.earnersRoot, state.totalSpent) = (earnersRoot(ids, earned), uint128(BOND));
        EarnerClaim memory request = claimOf(finalizeNext(state), ids, earned);
        // A lie is posted, and the bond is made to answer at once.
        BatchHeader memory lie = nextHeader();
        lie.receiptsRoot = 0;
        lie.state.totalSpent += 300 ether;
        submit(lie);
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(OPERATOR, BOND);
        assertEq(settlement.claim(request), 700 ether, "all but what is pending");
        assertEq(settlement.claim(request), 0, "again");

        FraudProof memory proof;
        proof.header = lie;
        proof.vacant = true;
        uint256 supply = token.totalSupply();
        vm.prank(WATCHER);
        settlement.proveFraud(proof);
        assertEq(token.balanceOf(WATCHER), 150 ether, "reward");
        assertEq(supply - token.totalSupply(), 150 ether, "burned");
    }

    function test_ADrawDoesNotLetTheBondLeaveThatIsAtStake() public {
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(uint128(BOND));
        State memory state;
        (state.earnersRoot, state.totalSpent) = (earnersRoot(ids, earned), uint128(BOND));
        EarnerClaim memory request = claimOf(finalizeNext(state), ids, earned);
        // All but the minimum may be withdrawn by now; the lie stands against the rest.
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(OPERATOR, BOND - MINIMUM_BOND);
        pass(windows().unbonding);
        BatchHeader memory lie = nextHeader(state);
        lie.receiptsRoot = 0;
        submit(lie);
        assertEq(settlement.claim(request), BOND - MINIMUM_BOND, "drawn");
        vm.prank(OPERATOR_OWNER);
        assertEq(operators.withdrawBond(OPERATOR), 0, "withdrawn");
        assertEq(operators.bondOf(OPERATOR), MINIMUM_BOND, "at stake");
    }

    function test_ABondKeepsTheMinimumWhileAnythingIsPendingAndPaysAllAfterwards() public {
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(uint128(BOND));
        State memory state;
        (state.earnersRoot, state.totalSpent) = (earnersRoot(ids, earned), uint128(BOND));
        EarnerClaim memory request = claimOf(finalizeNext(state), ids, earned);
        request.header = nextHeader(state);
        BatchHeader memory before = request.header;
        submit(before);
        pass(windows().challenge + 1);
        settlement.finalize(OPERATOR, before.height);
        BatchHeader memory pending = nextHeader(state);
        submit(pending);
        vm.prank(OPERATOR_OWNER);
        operators.requestUnbond(OPERATOR, BOND);
        assertEq(settlement.claim(request), BOND - MINIMUM_BOND, "while a batch of nothing is pending");
        pass(windows().challenge + 1);
        settlement.finalize(OPERATOR, pending.height);
        request.header = pending;
        assertEq(settlement.claim(request), MINIMUM_BOND, "the rest");
    }

    function test_AChannelIsNotChargedWhatIsGoneBeforeItCanBeCollected() public {
        channels.startThaw(CHANNEL, DEPOSIT);
        // The payer leaves in time for all that was served before.
        pass(windows().thaw - _SETTLING);
        _expectVerdict(_honest(), Verdict.Valid);
        // From here on, the payer could withdraw before the batch was collected.
        pass(1);
        FraudProof memory proof = _honest();
        _expectVerdict(proof, Verdict.DepositExceeded);
        submit(proof.header);
        assertTrue(settlement.proveFraud(proof) == Verdict.DepositExceeded, "proven");
        // What stays in the channel can be charged.
        channels.startThaw(CHANNEL, DEPOSIT - _PRICE);
        pass(windows().thaw);
        _expectVerdict(_honest(), Verdict.Valid);
        channels.startThaw(CHANNEL, DEPOSIT - _PRICE + 1);
        pass(windows().thaw);
        _expectVerdict(_honest(), Verdict.DepositExceeded);
        channels.cancelThaw(CHANNEL);
        _expectVerdict(_honest(), Verdict.Valid);
    }

    function test_AThawLeavesWhatWasServedBeforeItHonestUntilTheLastSecondToPost() public {
        Voucher memory voucher = _voucher();
        FraudProof memory proof = _honest();
        channels.startThaw(CHANNEL, DEPOSIT);
        warpTo(voucher.expiry + windows().posting);
        proof.header.registryTime = clock;
        _expectVerdict(proof, Verdict.Valid);
    }

    /* ---------------------------------------------- reentrancy and payees ------------------------------------------------ */

    function test_ATokenThatCallsBackIsPaidOutOnce() public {
        ReentrantToken hostile = new ReentrantToken(address(this));
        settlement = new AttributionSettlement(
            IERC20(address(hostile)),
            allocator,
            operators,
            address(this),
            parameters,
            verifier,
            windows()
        );
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(10 ether);
        State memory state;
        (state.earnersRoot, state.totalSpent) = (earnersRoot(ids, earned), 30 ether);
        (state.treasuryEarned, state.operatorEarned) = (5 ether, 15 ether);
        BatchHeader memory header = finalizeNext(state);
        hostile.transfer(address(settlement), 30 ether);
        settlement.creditPool(OPERATOR, 30 ether);
        EarnerClaim memory request = claimOf(header, ids, earned);
        bytes[3] memory calls = [
            abi.encodeCall(settlement.claim, (request)),
            abi.encodeCall(settlement.claimTreasury, (header)),
            abi.encodeCall(settlement.claimOperator, (header))
        ];
        for (uint256 i; i < 3; ++i) {
            hostile.arm(address(settlement), calls[i]);
            (bool done, ) = address(settlement).call(calls[i]);
            assertTrue(done && hostile.called() && !hostile.succeeded(), "let in");
            assertEq(hostile.answer(), _guarded(), "guard");
        }
        assertEq(hostile.balanceOf(CREATOR), 10 ether, "contributor");
        assertEq(hostile.balanceOf(TREASURY), 5 ether, "treasury");
        assertEq(hostile.balanceOf(OPERATOR_OWNER), 15 ether, "operator");
    }

    function test_AnAccountThatComesBackForItsCoinsGetsThemOnce() public {
        GreedyAccount greedy = new GreedyAccount();
        BatchHeader memory header = submitNext();
        uint256 price = settlement.demandPrice();
        vm.deal(address(this), price + 1 ether);
        greedy.demand{value: price + 1 ether}(settlement, header);
        settlement.withdrawCoins(address(greedy));
        assertEq(greedy.answer(), _guarded(), "guard");
        assertEq(address(greedy).balance, 1 ether, "coins");
        assertEq(address(settlement).balance, price, "the demand's payment stays");
    }

    function testFuzz_AClaimPaysExactlyTheListInForce(uint96 amount, uint256 dice) public {
        amount = uint96(bound(amount, 1, BOND));
        uint256 count = 1 + (dice % 64);
        Payee[] memory payees = new Payee[](count);
        uint32 left = 1_000_000;
        for (uint256 i; i < count; ++i) {
            dice = uint256(keccak256(abi.encode(dice)));
            uint32 most = left - uint32(count - 1 - i);
            uint32 share = i + 1 == count ? left : uint32(1 + (dice % most) / 8);
            payees[i] = Payee(address(uint160(0xBEEF0000 + i)), share);
            left -= share;
        }
        vm.prank(CREATOR);
        agents.setPayees(AGENT, payees);
        pass(7 days);
        (uint32[] memory ids, uint128[] memory earned) = _oneEarner(amount);
        State memory state;
        (state.earnersRoot, state.totalSpent) = (earnersRoot(ids, earned), amount);
        EarnerClaim memory request = claimOf(finalizeNext(state), ids, earned);
        request.payees[0] = payees;
        fundPool(OPERATOR, amount);
        assertEq(settlement.claim(request), amount, "claimed");
        uint256 sum;
        for (uint256 i; i < count; ++i) {
            uint256 received = token.balanceOf(payees[i].account);
            uint256 exact = uint256(amount) * payees[i].sharePpm;
            assertTrue(received * 1e6 < exact + 1e6 && exact < received * 1e6 + 1e6, "less than a wei off");
            sum += received;
        }
        assertEq(sum, amount, "to the wei");
        assertEq(token.balanceOf(CREATOR), 0, "the owner is not on the list");
    }

    function _oneEarner(uint128 amount) private pure returns (uint32[] memory ids, uint128[] memory earned) {
        ids = new uint32[](1);
        earned = new uint128[](1);
        (ids[0], earned[0]) = (AGENT, amount);
    }

    function _guarded() private pure returns (bytes memory) {
        return abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
    }
}
