// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {OpenToken} from "../../../contracts/token/OpenToken.sol";
import {TestBase} from "../TestBase.sol";

contract OpenTokenTest is TestBase {
    uint256 private constant _KEY = 0xA11CE;

    OpenToken private _token;
    address private _holder;

    function setUp() public {
        _holder = vm.addr(_KEY);
        _token = new OpenToken(_holder);
    }

    function test_TheWholeSupplyIsTheHolders() public view {
        assertEq(_token.totalSupply(), 1_000_000_000e18, "supply");
        assertEq(_token.balanceOf(_holder), 1_000_000_000e18, "holder");
        assertEq(_token.decimals(), 18, "decimals");
        assertEq(bytes(_token.symbol()), "OPEN", "symbol");
    }

    function testFuzz_ATransferMovesExactlyItsAmount(address to, uint256 amount) public {
        vm.assume(to != address(0) && to != _holder);
        amount = bound(amount, 0, _token.totalSupply());
        vm.prank(_holder);
        _token.transfer(to, amount);
        assertEq(_token.balanceOf(to), amount, "received");
        assertEq(_token.balanceOf(_holder), _token.totalSupply() - amount, "left");
    }

    function test_BurningLowersTheSupplyForGood() public {
        vm.prank(_holder);
        _token.burn(3e18);
        assertEq(_token.totalSupply(), 1_000_000_000e18 - 3e18, "supply");
    }

    function test_RevertWhen_BurningMoreThanOneHas() public {
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, address(this), 0, 1));
        _token.burn(1);
    }

    function test_VotesFollowDelegationAndCountByTime() public {
        vm.warp(1000);
        vm.prank(_holder);
        _token.delegate(address(0xBEEF));
        vm.warp(2000);
        vm.prank(_holder);
        _token.transfer(address(1), 1e18);
        assertEq(_token.getVotes(address(0xBEEF)), 1_000_000_000e18 - 1e18, "votes now");
        assertEq(_token.getPastVotes(address(0xBEEF), 1500), 1_000_000_000e18, "votes before");
        assertEq(_token.clock(), 2000, "clock");
        assertEq(bytes(_token.CLOCK_MODE()), "mode=timestamp", "mode");
    }

    function test_APermitApprovesOnce() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_KEY, _permitDigest(address(7), 5e18, 0));
        _token.permit(_holder, address(7), 5e18, type(uint256).max, v, r, s);
        assertEq(_token.allowance(_holder, address(7)), 5e18, "allowance");
        assertEq(_token.nonces(_holder), 1, "nonce");

        // With the next nonce the digest is another, so the signature recovers to a stranger.
        address stranger = ecrecover(_permitDigest(address(7), 5e18, 1), v, r, s);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612InvalidSigner.selector, stranger, _holder));
        _token.permit(_holder, address(7), 5e18, type(uint256).max, v, r, s);
    }

    function _permitDigest(address spender, uint256 value, uint256 nonce) private view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                _holder,
                spender,
                value,
                nonce,
                type(uint256).max
            )
        );
        return keccak256(abi.encodePacked(hex"1901", _token.DOMAIN_SEPARATOR(), structHash));
    }
}
