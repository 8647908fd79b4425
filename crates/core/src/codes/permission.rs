//! Our own: permissions that a wallet grants, on the buyer's side.

codes! {
    PERMISSION_OPEN = "permission_open": "Anybody could spend the permission: it is open.",
    PERMISSION_UNUSABLE = "permission_unusable": "The permission cannot be spent.",
    PERMISSION_REDEEMER = "permission_redeemer": "None of the server's facilitators may redeem the permission.",
    PERMISSION_ASSET = "permission_asset": "The permission is for another asset.",
    PERMISSION_PAYEE = "permission_payee": "The permission pays another payee only.",
    PERMISSION_ALLOWANCE = "permission_allowance": "The price is more than the permission allows.",
    PERMISSION_EXPIRED = "permission_expired": "The permission has expired.",
    PERMISSION_REVOKED = "permission_revoked": "The permission was revoked here.",
    PERMISSION_NO_TERMS = "permission_no_terms": "The resource cannot be paid by a permission.",
    PERMISSION_NO_WALLET = "permission_no_wallet": "No browser wallet answered.",
    PERMISSION_UNSUPPORTED = "permission_unsupported": "The wallet does not grant permissions of this kind on this network.",
    PERMISSION_DENIED = "permission_denied": "The person declined.",
    PERMISSION_ANSWER = "permission_answer": "What the wallet answered is not a permission that can be read.",
    PERMISSION_WEAKER = "permission_weaker": "What the wallet granted is wider than what was asked, or lacks a rule.",
    PERMISSION_ADJUSTED = "permission_adjusted": "The person changed what was asked.",
    PERMISSION_FACTORY = "permission_factory": "The account must be deployed first, by a factory that is not allowed.",
    PERMISSION_TIMEOUT = "permission_timeout": "Nobody answered on the page in time.",
}
