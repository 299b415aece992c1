// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {InvariantBase} from "../TestBase.sol";
import {Registries} from "./Registries.sol";

/// @notice Submits, decides, withdraws and publishes at random, as one person who owns all, and remembers what was said.
contract DataNetActor is Registries {
    uint32 public net;
    uint32[] public ids;

    /// @dev Fields of a record when they were first seen set; they must stay so.
    mapping(uint32 id => uint256) public firstAccepted;
    mapping(uint32 id => uint256) public firstWithdrawn;

    constructor() {
        deployRegistries();
        net = createDataNet(ALICE);
    }

    function submitOne() external {
        if (ids.length < 12) ids.push(submit(BOB, net));
    }

    function acceptOne(uint256 which) external {
        _try(which, true);
    }

    function rejectOne(uint256 which) external {
        _try(which, false);
    }

    function withdrawOne(uint256 which, bool byCurator) external {
        if (ids.length == 0) return;
        vm.prank(byCurator ? ALICE : BOB);
        try dataNets.withdraw(ids[which % ids.length]) {} catch {}
        _remember();
    }

    function publish() external {
        vm.prank(ALICE);
        dataNets.publishVersion(net);
        vm.warp(vm.getBlockTimestamp() + 1);
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function recordOf(uint32 id) external view returns (uint32 from, uint32 until, uint40 accepted, uint40 withdrawn) {
        (, from, until, accepted, withdrawn) = dataNets.contributionOf(id);
    }

    function headOf() external view returns (uint32) {
        return dataNets.headOf(net);
    }

    function _try(uint256 which, bool accepting) private {
        if (ids.length == 0) return;
        uint32[] memory one = ids1(ids[which % ids.length]);
        vm.prank(ALICE);
        if (accepting) {
            try dataNets.accept(one) {} catch {}
        } else {
            try dataNets.reject(one) {} catch {}
        }
        _remember();
    }

    function _remember() private {
        for (uint256 i; i < ids.length; ++i) {
            (, , , uint40 accepted, uint40 withdrawn) = dataNets.contributionOf(ids[i]);
            if (accepted != 0 && firstAccepted[ids[i]] == 0) firstAccepted[ids[i]] = accepted;
            if (withdrawn != 0 && firstWithdrawn[ids[i]] == 0) firstWithdrawn[ids[i]] = withdrawn;
        }
        vm.warp(vm.getBlockTimestamp() + 1);
    }
}

contract DataNetInvariants is InvariantBase {
    DataNetActor private _actor;

    function setUp() public {
        _actor = new DataNetActor();
        targetContract(address(_actor));
    }

    /// @notice Accepted once and withdrawn once, never otherwise; versions follow from the two.
    function invariant_RecordsOnlyGrow() public view {
        uint32 head = _actor.headOf();
        for (uint256 i; i < _actor.count(); ++i) {
            uint32 id = _actor.ids(i);
            (uint32 from, uint32 until, uint40 accepted, uint40 withdrawn) = _actor.recordOf(id);
            assertEq(accepted, _actor.firstAccepted(id), "accepted at another time");
            assertEq(withdrawn, _actor.firstWithdrawn(id), "withdrawn at another time");
            assertTrue((from == 0) == (accepted == 0), "fromVersion without acceptance");
            assertTrue((until == 0) == (withdrawn == 0), "untilVersion without withdrawal");
            assertTrue(from <= head + 1 && until <= head + 1, "beyond the next version");
            if (accepted != 0 && withdrawn != 0) assertTrue(from <= until && accepted <= withdrawn, "out of order");
        }
    }
}
