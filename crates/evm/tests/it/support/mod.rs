pub mod clock;
pub mod fake_node;
