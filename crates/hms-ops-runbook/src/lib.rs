//! Runs runbooks in a process of their own and grants them only what the policy grants.
