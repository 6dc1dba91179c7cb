;; A component that exports nothing of the contract.
(component)
