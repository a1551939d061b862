"""Lifecycle policies as pure values and decisions: a policy, images and an instant in, verdicts out.

No I/O, no clock, no SQL. A policy that is valid in Amazon ECR means here what it means there.
"""
