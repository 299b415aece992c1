// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {AttacksSuite} from "../attacks/AttacksSuite.sol";
import {BatchChainSuite} from "./BatchChainSuite.sol";
import {ChunkDemandsSuite} from "./ChunkDemandsSuite.sol";
import {EarnerPoolsSuite} from "./EarnerPoolsSuite.sol";
import {InvariantSuite} from "./InvariantSuite.sol";
import {SettlementFixture} from "./SettlementFixture.sol";

/// @notice What the runner of invariants calls in any order; the suite that holds the contracts does it.
contract SettlementHandler {
    InvariantSuite private immutable _SUITE;

    constructor(InvariantSuite suite) {
        _SUITE = suite;
    }

    function post(uint96 treasury, uint96 operator, uint96 first, uint96 second, bool lie) external {
        _act(abi.encodeCall(InvariantSuite.post, ([treasury, operator, first, second], lie)));
    }

    function finalize(uint8 wait) external {
        _act(abi.encodeCall(InvariantSuite.finalizeWhatIsRipe, (wait)));
    }

    function prove(uint8 which) external {
        _act(abi.encodeCall(InvariantSuite.prove, (which)));
    }

    function demand(uint8 which) external {
        _act(abi.encodeCall(InvariantSuite.demand, (which)));
    }

    function answer(uint8 which) external {
        _act(abi.encodeCall(InvariantSuite.answer, (which)));
    }

    function refund(uint8 which) external {
        _act(abi.encodeCall(InvariantSuite.refund, (which)));
    }

    function collect(uint96 amount) external {
        _act(abi.encodeCall(InvariantSuite.collect, (amount)));
    }

    function claim(uint8 which) external {
        _act(abi.encodeCall(InvariantSuite.claim, (which)));
    }

    function claimOthers(bool operatorFirst) external {
        _act(abi.encodeCall(InvariantSuite.claimOthers, (operatorFirst)));
    }

    /// @dev The runner overlooks what reverts; here, that is a failure.
    function _act(bytes memory action) private {
        (bool done, bytes memory reason) = address(_SUITE).call(action);
        if (!done) _SUITE.recordFailure(reason);
    }
}

/// @notice All suites in one contract: each contract that deploys the protocol takes the compiler a minute.
contract SettlementTest is BatchChainSuite, ChunkDemandsSuite, EarnerPoolsSuite, AttacksSuite, InvariantSuite {
    function setUp() public override(SettlementFixture, InvariantSuite) {
        InvariantSuite.setUp();
    }

    function newHandler() internal override returns (address) {
        return address(new SettlementHandler(this));
    }
}
