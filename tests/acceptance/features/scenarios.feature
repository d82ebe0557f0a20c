Feature: The loop brings a chain of assets back in order
  Every asset is a file in the session's workspace. It is Ready when the file is there; its sync writes the file.
  Counts are of completed evaluations and of started syncs.

  Scenario: Scenario 1 - a linear chain heals from its top
    Given assets A, B and C, each made from the one before, and none of them is there
    When the project is applied
    Then everything becomes Ready
    And A was evaluated 2 times and synced 1 time
    And B was evaluated 1 time and synced 1 time
    And C was evaluated 1 time and synced 1 time

  Scenario: Scenario 4 - a fan-out runs its branches side by side
    Given asset A, looked at every second, and assets B, C and D, each made from A, and none of them is there
    And the syncs of B, C and D each wait until all three have begun
    When the project is applied
    Then everything becomes Ready
    And B was evaluated 1 time and synced 1 time
    And C was evaluated 1 time and synced 1 time
    And D was evaluated 1 time and synced 1 time

  Scenario: Scenario 5 - a diamond syncs its foot once
    Given asset A, looked at every second, assets B and C made from A, and X made from B and C, and none is there
    And the sync of C waits until that of X has begun, and the sync of X waits for the file that C's writes and for a word
    When the project is applied
    And the word is given once C is Ready
    Then everything becomes Ready
    And B was evaluated 1 time and synced 1 time
    And C was evaluated 1 time and synced 1 time
    And X was evaluated 1 time and synced 1 time
